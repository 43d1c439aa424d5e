/* Calls two functions twenty times a second, for ten seconds. */
#include <stdlib.h>
#include <unistd.h>

struct Foo { int a; char b[10]; };

int GLOBAL_A = 0x55555555;
int GLOBAL_B = 0x44444444;
int GLOBAL_C = 0x33333333;
int GLOBAL_D = 0x22222222;

__attribute__((noinline)) int *uprobeFunction1(int *n, char c)
{
    __asm__ volatile("" ::"r"(n), "r"((int)c) : "memory");
    return n;
}

__attribute__((noinline)) void uprobeFunction2(struct Foo *foo, struct Foo *foo2)
{
    __asm__ volatile("" ::"r"(foo), "r"(foo2) : "memory");
}

int main(void)
{
    struct Foo foo = {123, "hello"}, foo2 = {456, "world"};
    int n = 13;

    for (int i = 0; i < 200; i++) {
        uprobeFunction1(&n, 'x');
        uprobeFunction2(&foo, &foo2);
        usleep(50000);
    }
    return 0;
}
