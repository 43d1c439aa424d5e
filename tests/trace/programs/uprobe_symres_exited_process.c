__attribute__((noinline)) void test(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) void test2(void) { test(); __asm__ volatile("" ::: "memory"); }

int main(void)
{
    test2();
    return 0;
}
