/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest guest: a kernel by the 64-bit boot protocol that says hello on COM1 and then does what the first letter of its
 * command line says. o: power off (ACPI S5). r: reset by port 0xcf9, and off when started again. t: a triple fault.
 * p: pvpanic. s: stands still. d: a read of a port and of an address where nobody is, then off.
 */
    .code64
    .text
    .org 0x1f1
    .byte 1                 /* setup_sects: one sector follows the first */
    .org 0x1fe
    .word 0xaa55
    .org 0x200
    .byte 0xeb, 0x62        /* a jump, whose length says where the header ends */
    .ascii "HdrS"
    .word 0x20f             /* version */
    .org 0x211
    .byte 1                 /* loadflags: loaded high */
    .org 0x22c
    .long 0x7fffffff        /* initrd_addr_max */
    .long 0x200000          /* kernel_alignment */
    .byte 0, 21
    .word 1                 /* xloadflags: a 64-bit entry */
    .long 2047              /* cmdline_size */
    .org 0x258
    .quad 0x1000000         /* pref_address */
    .long 0x100000          /* init_size */
    .org 0x400
    .org 0x600              /* the 64-bit entry: 0x200 behind what is loaded */
entry:
    mov $0x1080000, %esp    /* inside init_size */
    lea hello(%rip), %rbx
    call print
    mov 0x228(%rsi), %edi   /* cmd_line_ptr */
    movb (%rdi), %al
    cmpb $'r', %al
    je restart
    cmpb $'t', %al
    je fault
    cmpb $'p', %al
    je panic
    cmpb $'s', %al
    je stop
    cmpb $'d', %al
    jne off
    mov $0x4321, %dx
    inl %dx, %eax
    cmp $-1, %eax
    jne stop
    mov $0xe0000000, %edi
    movl (%rdi), %eax
    cmp $-1, %eax
    jne stop
    lea nobody(%rip), %rbx
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

restart:                    /* memory keeps its content: the second time the mark is there */
    mov $0x2000000, %edi
    cmpl $0x600df00d, (%rdi)
    je off
    movl $0x600df00d, (%rdi)
    mov $0xcf9, %dx
    mov $6, %al
    outb %al, %dx
    jmp stop

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
nobody:
    .asciz "nobody is there\n"
    .balign 512
