# The pause program for x86-64 Linux: holds namespaces, reaps orphans, leaves on SIGTERM or SIGINT.
#
# As PID 1 the kernel drops signals that have their default action, unless they are blocked: so the three signals are
# blocked and waited for, which needs neither a handler nor a stack.
#
#   as -o pause.o x86_64.S && objcopy -O binary -j .text pause.o pause.bin   # then: python -m moorage.engine.docker.pause

        .text
        .globl  _start
_start:
        lea     set(%rip), %rbx         # signal set, kept in a callee-saved register

        mov     $14, %eax               # rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
        xor     %edi, %edi
        mov     %rbx, %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall

wait_signal:
        mov     $128, %eax              # rt_sigtimedwait(set, NULL, NULL, 8)
        mov     %rbx, %rdi
        xor     %esi, %esi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        cmp     $17, %eax               # SIGCHLD
        je      reap
        cmp     $0, %eax
        jle     wait_signal             # interrupted: wait again

        mov     $231, %eax              # exit_group(0)
        xor     %edi, %edi
        syscall

reap:
        mov     $61, %eax               # wait4(-1, NULL, WNOHANG, NULL)
        mov     $-1, %rdi
        xor     %esi, %esi
        mov     $1, %edx
        xor     %r10d, %r10d
        syscall
        cmp     $0, %eax
        jg      reap
        jmp     wait_signal

        .balign 8
set:    .quad   0x14002                 # SIGINT (2), SIGTERM (15), SIGCHLD (17): bit n-1
