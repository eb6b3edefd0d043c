/* SPDX-License-Identifier: BSD-2-Clause */
/* The header of a kernel by the 64-bit boot protocol; what follows is entered in long mode, with RSI at the zero page. */
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
