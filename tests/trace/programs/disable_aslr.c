#include <sys/personality.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    (void)argc;
    personality(ADDR_NO_RANDOMIZE);
    execv(argv[1], argv + 1);
    return 1;
}
