// A library that the tests put probes into; the note is what sys/sdt.h makes of a probe with a semaphore.
__attribute__((section(".probes"))) unsigned short mine_added_semaphore;

__attribute__((noinline)) long add_up(long x)
{
	long twice = x + x;
	int constant = -5;

	__asm__ volatile("" : "+r"(twice)); // so that the probe is not at the function's first instruction
	__asm__ volatile(
		"990: nop\n"
		".pushsection .note.stapsdt,\"?\",\"note\"\n"
		".balign 4\n"
		".4byte 992f-991f, 994f-993f, 3\n"
		"991: .asciz \"stapsdt\"\n"
		"992: .balign 4\n"
		"993: .8byte 990b\n"
		".8byte _.stapsdt.base\n"
		".8byte mine_added_semaphore\n"
		".asciz \"mine\"\n"
		".asciz \"added\"\n"
		".asciz \"8@%0 -4@%1\"\n"
		"994: .balign 4\n"
		".popsection\n"
		".ifndef _.stapsdt.base\n"
		".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
		".weak _.stapsdt.base\n"
		".hidden _.stapsdt.base\n"
		"_.stapsdt.base: .space 1\n"
		".size _.stapsdt.base, 1\n"
		".popsection\n"
		".endif\n"
		: : "nor"(x), "nor"(constant));
	return twice;
}

__attribute__((noinline)) long add_one(long x)
{
	return x + 1;
}
