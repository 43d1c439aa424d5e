/* Calls a function from another one, five times in a second and a half. */
#include <unistd.h>

__attribute__((noinline)) void test(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) void test2(void) { test(); __asm__ volatile("" ::: "memory"); }

int main(void)
{
    for (int i = 0; i < 5; i++) {
        test2();
        usleep(300000);
    }
    return 0;
}
