/* SPDX-License-Identifier: BSD-2-Clause */
/* The head of disk.c. */
#include "header.S"
    mov $0x1080000, %esp    /* inside init_size */
    mov 0x228(%rsi), %edi   /* cmd_line_ptr */
    movzbl (%rdi), %edi
    call guest_main
1:  hlt
    jmp 1b
