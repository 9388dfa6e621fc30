// The pause program for 64-bit ARM Linux: holds namespaces, reaps orphans, leaves on SIGTERM or SIGINT.
// The same program as x86_64.S, which says why it blocks the signals instead of handling them.
//
//   as -o pause.o aarch64.S && objcopy -O binary -j .text pause.o pause.bin   // then: python -m moorage.engine.docker.pause

        .text
        .globl  _start
_start:
        adr     x19, set                // signal set

        mov     x8, #135                // rt_sigprocmask(SIG_BLOCK, set, NULL, 8)
        mov     x0, #0
        mov     x1, x19
        mov     x2, #0
        mov     x3, #8
        svc     #0

wait_signal:
        mov     x8, #137                // rt_sigtimedwait(set, NULL, NULL, 8)
        mov     x0, x19
        mov     x1, #0
        mov     x2, #0
        mov     x3, #8
        svc     #0
        cmp     w0, #17                 // SIGCHLD
        b.eq    reap
        cmp     w0, #0
        b.le    wait_signal             // interrupted: wait again

        mov     x8, #94                 // exit_group(0)
        mov     x0, #0
        svc     #0

reap:
        mov     x8, #260                // wait4(-1, NULL, WNOHANG, NULL)
        mov     x0, #-1
        mov     x1, #0
        mov     x2, #1
        mov     x3, #0
        svc     #0
        cmp     w0, #0
        b.gt    reap
        b       wait_signal

        .balign 8
set:    .quad   0x14002                 // SIGINT (2), SIGTERM (15), SIGCHLD (17): bit n-1
