struct foo { int a; };
__attribute__((noinline)) void test_helper_error(struct foo *p) { __asm__ volatile("" ::"r"(p) : "memory"); }

int main(void)
{
    test_helper_error((struct foo *)1);
    return 0;
}
