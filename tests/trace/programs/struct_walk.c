#include <stdint.h>

struct C { uint32_t a; uint32_t b; };
__attribute__((noinline)) void clear(struct C *c) { __asm__ volatile("" ::"r"(c) : "memory"); }

int main(void)
{
    struct C c = {45, 1000};
    clear(&c);
    return 0;
}
