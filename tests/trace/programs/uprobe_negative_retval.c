/* function1 returns each of -120 .. 100; main returns -100. */
__attribute__((noinline)) int function1(int n) { __asm__ volatile("" : "+r"(n)); return n; }

int main(void)
{
    for (int i = -120; i <= 100; i++)
        function1(i);
    return -100;
}
