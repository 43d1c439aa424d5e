/* Arrays whose values the cases know. */
#include <stdint.h>

struct A { int x[4]; uint8_t y[4]; };
struct B { int y[2][2]; };
struct C { int *z[4]; };
struct D { int x; int y[2]; };

__attribute__((noinline)) void test_struct(struct A *a, struct B *b) { __asm__ volatile("" ::"r"(a), "r"(b) : "memory"); }
__attribute__((noinline)) void test_array(int *a) { __asm__ volatile("" ::"r"(a) : "memory"); }
__attribute__((noinline)) void test_ptr_array(struct C *c) { __asm__ volatile("" ::"r"(c) : "memory"); }
__attribute__((noinline)) void test_arrays(struct A *a, struct A *b) { __asm__ volatile("" ::"r"(a), "r"(b) : "memory"); }
__attribute__((noinline)) void test_variable_array(struct D *d) { __asm__ volatile("" ::"r"(d) : "memory"); }

int main(void)
{
    struct A a = {{1, 2, 3, 4}, {0xaa, 0xbb, 0xcc, 0xdd}}, other = {{5, 6, 7, 8}, {0, 1, 2, 3}};
    struct B b = {{{5, 6}, {7, 8}}};
    struct C c = {{&a.x[0], &a.x[1], &a.x[2], &a.x[3]}};
    struct D d = {1, {1, 2}};

    test_struct(&a, &b);
    test_array(a.x);
    test_ptr_array(&c);
    test_arrays(&a, &other);
    test_variable_array(&d);
    return 0;
}
