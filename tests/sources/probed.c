/* What the tests of probes run: functions with known arguments, and USDT probes written as notes by hand. */
#include <stdio.h>
#include <stdlib.h>

struct point { int x; unsigned char kind; const char *name; };

unsigned short counter __attribute__((section(".probes")));

#define NOTE(name, semaphore, arguments)                                                        \
    "990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f,994f-993f,3\n" \
    "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte _.stapsdt.base\n"         \
    ".8byte " semaphore "\n.asciz \"linscope\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n"  \
    "994: .balign 4\n.popsection\n"                                                              \
    ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"                  \
    ".size _.stapsdt.base,1\n.popsection\n.endif\n"

__attribute__((noinline)) int probed(int number, struct point *point, const char *text)
{
    asm volatile(NOTE("entered", "0", "-4@%0 8@%1 -4@$-7 1@4(%1) 8@(%1,%1,8)") : : "r"(number), "r"(point));
    if (counter)
        asm volatile(NOTE("counted", "counter", "8@%0") : : "r"(text));
    return number + point->x + point->kind;
}

int main(int argc, char **argv)
{
    struct point point = {.x = -5, .kind = 200, .name = "a name"};
    int sum = 0;

    for (int i = 0; i < atoi(argv[1]); i++)
        sum += probed(i, &point, "the text");
    printf("%d\n", sum);
    return 0;
}
