union N { int i; float f; };
struct Foo { int m; union N n; };
__attribute__((noinline)) void func(struct Foo *foo) { __asm__ volatile("" ::"r"(foo) : "memory"); }

int main(void)
{
    struct Foo foo = {2, {5}};
    func(&foo);
    return 0;
}
