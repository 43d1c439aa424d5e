/* A USDT probe in functions that are inlined into one another; its note is written by hand. */
#include <unistd.h>

#define PROBE(first, second)                                                                      \
    __asm__ volatile("990: nop\n"                                                                 \
                     ".pushsection .note.stapsdt,\"\",\"note\"\n"                                 \
                     ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n"       \
                     "992: .balign 4\n993: .8byte 990b, 0, 0\n.asciz \"tracetest\"\n"             \
                     ".asciz \"testprobe\"\n.asciz \"-4@%0 -4@%1\"\n994: .balign 4\n.popsection\n" \
                     ::"r"(first), "r"(second))

static inline __attribute__((always_inline)) void myclock(int probe_num) { PROBE(0, probe_num); }
static inline __attribute__((always_inline)) void mywrapper_inlined(int probe_num) { myclock(probe_num); }
__attribute__((noinline)) static void mywrapper(void)
{
    mywrapper_inlined(100);
    __asm__ volatile("" ::: "memory");
}
__attribute__((noinline)) static void loop(void)
{
    for (int i = 0; i < 100; i++) {
        myclock(200);
        mywrapper();
        usleep(50000);
    }
}

int main(void)
{
    loop();
    return 0;
}
