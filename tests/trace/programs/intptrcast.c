#include <stdint.h>

__attribute__((noinline)) void fn(uint16_t *p) { __asm__ volatile("" ::"r"(p) : "memory"); }

int main(void)
{
    uint16_t values[] = {1, 1110, 3};
    fn(values);
    return 0;
}
