/* Calls a function twenty times a second, for ten seconds, some calls deep. */
#include <unistd.h>

__attribute__((noinline)) void uprobeFunction1(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void caller(void) { uprobeFunction1(); __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void spin(void)
{
    for (int i = 0; i < 200; i++) {
        caller();
        usleep(50000);
    }
}

int main(void)
{
    spin();
    return 0;
}
