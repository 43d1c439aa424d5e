/* A program with deep and varied call chains: the input of the reading benchmarks.
 * Sixty-four small functions call one another, do arithmetic, sort, copy and ask the kernel.  The walk is one of 300,
 * as a server has so many kinds of request: stacks are deep and many, and come again.
 * deep [SECONDS [SEED [unlimited]]] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 88172645463325252ull;
static volatile uint64_t sink;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

typedef void step(int depth);
static step *const steps[64];

__attribute__((noinline)) static void leaf(unsigned n) {
    int values[64];
    char text[256];
    switch (n % 5) {
    case 0:
        for (int i = 0; i < 64; i++) values[i] = (int)next();
        qsort(values, 64, sizeof *values, compare);
        sink += (uint64_t)values[3];
        break;
    case 1:
        snprintf(text, sizeof text, "%u %s %g", n, "value", (double)n / 7);
        sink += strlen(text);
        break;
    case 2:
        for (int i = 0; i < 400; i++) sink += next() % 7;
        break;
    case 3:
        memset(text, (int)n, sizeof text);
        sink += (uint64_t)text[n % 256];
        break;
    default:
        sink += (uint64_t)getppid();
    }
}

#define STEP(n)                                                                      \
    __attribute__((noinline)) static void step_##n(int depth) {                      \
        uint64_t r = next();                                                         \
        if (depth > 0) {                                                             \
            steps[(n * 7 + r % 3) % 64](depth - 1);                                  \
            if (r % 9 == 0) steps[(n * 11 + 1 + r % 2) % 64](depth / 2);             \
        } else {                                                                     \
            leaf((unsigned)(r >> 8));                                                \
        }                                                                            \
        sink += n;                                                                   \
    }
#define EIGHT(n) STEP(n##0) STEP(n##1) STEP(n##2) STEP(n##3) STEP(n##4) STEP(n##5) STEP(n##6) STEP(n##7)
#define NAMES(n) step_##n##0, step_##n##1, step_##n##2, step_##n##3, step_##n##4, step_##n##5, step_##n##6, step_##n##7
EIGHT(1) EIGHT(2) EIGHT(3) EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7) EIGHT(8)
static step *const steps[64] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4), NAMES(5), NAMES(6), NAMES(7), NAMES(8)};

int main(int argc, char **argv) {
    time_t until = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
    if (argc > 2) state += (uint64_t)atoi(argv[2]) * 7919;
    int unlimited = argc > 3; /* "unlimited": no walk comes again */
    while (time(NULL) < until) {
        for (int i = 0; i < 200; i++) {
            uint64_t kind = (state = state * 6364136223846793005ull + 1442695040888963407ull) >> 33;
            uint64_t kept = state;
            if (!unlimited) {
                state = 88172645463325252ull + kind % 300 * 7919;
                next();
            }
            steps[next() % 64](15 + (int)(next() % 50));
            if (!unlimited) state = kept;
        }
    }
    return 0;
}
