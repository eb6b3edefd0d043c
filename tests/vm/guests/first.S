/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest guest: a kernel by the 64-bit boot protocol that says hello on COM1 and then does what the first letter of its
 * command line says. o: power off (ACPI S5). Started again, it is always that. A reset: c by port 0xcf9, k by the keyboard
 * controller, f by port 0x92, a by the register that the FADT names, t by a triple fault. p: pvpanic. d: a read of a port and
 * of an address where nobody is, then off. w: waits for the power button, then off. n: waits for an NMI, then off. z: hears
 * nothing any more. s: stands still, without a word. m and a number: starts so many other processors, resets, starts them
 * again, and is off.
 */
#include "header.S"
entry:
    mov $0x1080000, %esp    /* inside init_size */
    lea hello(%rip), %rbx
    call print
    mov 0x228(%rsi), %edi   /* cmd_line_ptr */
    movb (%rdi), %al
    cmpb $'w', %al
    je button
    cmpb $'n', %al
    je nmi
    cmpb $'z', %al
    je deaf
    cmpb $'p', %al
    je panic
    cmpb $'s', %al
    je stop
    cmpb $'d', %al
    je nobody
    cmpb $'m', %al
    je processors
    mov $0x2000000, %edi    /* memory keeps its content over a reset: the second time the mark is there */
    cmpl $0x600df00d, (%rdi)
    je off
    movl $0x600df00d, (%rdi)
    mov $6, %ah
    mov $0xcf9, %dx
    cmpb $'c', %al
    je reset
    mov $0xfe, %ah
    mov $0x64, %dx
    cmpb $'k', %al
    je reset
    mov $1, %ah
    mov $0x92, %dx
    cmpb $'f', %al
    je reset
    cmpb $'a', %al
    je acpi
    cmpb $'t', %al
    je fault
    jmp off

nobody:
    mov $0x4321, %dx
    inl %dx, %eax
    cmp $-1, %eax
    jne stop
    mov $0xe0000000, %edi
    movl (%rdi), %eax
    cmp $-1, %eax
    jne stop
    lea absent(%rip), %rbx
    call print
off:
    mov $0x604, %dx         /* PM1a control: SLP_EN with the type of S5, whatever it is */
    xor %ecx, %ecx
1:  mov %ecx, %eax
    shl $10, %eax
    or $0x2000, %eax
    outw %ax, %dx
    inc %ecx
    cmp $8, %ecx
    jb 1b
stop:
    hlt
    jmp stop

processors:
    xor %ebp, %ebp          /* how many */
1:  inc %edi
    movzbl (%rdi), %eax
    sub $'0', %eax
    js 2f
    imul $10, %ebp
    add %eax, %ebp
    jmp 1b
2:  mov $0x60000, %edi
    mov other(%rip), %rax
    mov %rax, (%rdi)
    mov other + 8(%rip), %rax
    mov %rax, 8(%rdi)
    movw $0, 0x100(%rdi)
    mov $0xfee00300, %edx   /* the local APIC: INIT, and a start at 0x60000, to all others */
    movl $0xc4500, (%rdx)
    movl $0xc4660, (%rdx)
1:  pause
    cmpw %bp, 0x100(%rdi)
    jne 1b
    lea started(%rip), %rbx
    call print
    mov $0x2000000, %edi
    cmpl $0x600df00d, (%rdi)
    je off
    movl $0x600df00d, (%rdi)
    mov $6, %ah
    mov $0xcf9, %dx
    jmp reset

acpi:                       /* RSDP, XSDT, FADT: [ACPI] 5.2.5 to 5.2.9 */
    mov 0x70(%rsi), %rdi    /* acpi_rsdp_addr */
    mov 24(%rdi), %rdi
    mov $36, %ecx
1:  mov (%rdi,%rcx), %rbx
    add $8, %ecx
    cmpl $0x50434146, (%rbx) /* "FACP" */
    je 2f
    cmp 4(%rdi), %ecx
    jb 1b
    jmp stop
2:  cmpb $1, 116(%rbx)      /* a port */
    jne stop
    mov 120(%rbx), %edx
    mov 128(%rbx), %ah
reset:
    mov %ah, %al
    outb %al, %dx
    jmp stop

button:
    mov $0x602, %dx         /* PM1a enable: the power button */
    mov $0x100, %ax
    outw %ax, %dx
    lea waits(%rip), %rbx
    call print
    mov $0x600, %dx
1:  pause
    inw %dx, %ax
    test $1, %ah
    jz 1b
    jmp off

nmi:
    lea 1f(%rip), %rax
    lea gates(%rip), %rdi
    movw %ax, 32(%rdi)      /* vector 2 */
    movw $0x10, 34(%rdi)
    movw $0x8e00, 36(%rdi)
    shr $16, %rax
    movw %ax, 38(%rdi)
    lea descriptors(%rip), %rax
    mov %rax, segments + 2(%rip)
    lgdt segments(%rip)
    mov %rdi, table + 2(%rip)
    lidt table(%rip)
deaf:
    lea waits(%rip), %rbx
    call print
    jmp stop
1:  lea interrupted(%rip), %rbx
    call print
    jmp off

fault:                      /* a page that is not mapped, and nobody to handle that */
    xor %esp, %esp
    push %rax
    jmp stop

panic:
    mov $0x505, %dx
    mov $1, %al
    outb %al, %dx
    jmp stop

print:
    mov $0x3f8, %dx
1:  movb (%rbx), %al
    test %al, %al
    jz 2f
    outb %al, %dx
    inc %rbx
    jmp 1b
2:  ret

hello:
    .asciz "hello from the guest\n"
started:
    .asciz "all processors have started\n"
other:                      /* in real mode: lock incw %cs:0x100, and hlt for ever */
    .byte 0xf0, 0x2e, 0xff, 0x06, 0x00, 0x01, 0xf4, 0xeb, 0xfd
    .skip 7
absent:
    .asciz "nobody is there\n"
waits:
    .asciz "the guest waits\n"
interrupted:
    .asciz "an NMI\n"
table:
    .word 48 - 1
    .quad 0
segments:
    .word 24 - 1
    .quad 0
    .balign 8
descriptors:
    .quad 0, 0, 0x00af9b000000ffff /* 0x10: code of 64 bits */
gates:
    .skip 48
    .balign 512
