/* Extensions of the processor for which the engine may make code. Package
 * golang.org/x/sys/cpu would ask for them at the start of every worker, and in a
 * virtual machine each question goes to the hypervisor. */
#include "shim.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum { EBX, ECX };

/* The bits of a register that stand for instructions: others change with the
 * microcode, or from processor to processor. */
static const struct { unsigned leaf, reg, instructions; } sets[] = {
	{ 1, ECX, 0x76d83203 },          /* SSE3 PCLMUL SSSE3 FMA SSE4 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
	{ 7, EBX, 0xfc2f0128 },          /* BMI AVX2 BMI2 AVX512 RDSEED ADX SHA */
	{ 7, ECX, 0x00005f42 },          /* VBMI VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNT */
	{ 0x80000001, ECX, 0x00000020 }, /* LZCNT */
};
enum { SETS = sizeof sets / sizeof *sets, OSXSAVE = 1 << 27 };

/* What of the vector registers the kernel keeps. */
static uint32_t kept_registers(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return a & 0xe6;
}

size_t cw_cpu_features(uint32_t *words)
{
	for (size_t i = 0; i < SETS; i++) {
		unsigned a, b = 0, c = 0, d;
		if (!__get_cpuid_count(sets[i].leaf, 0, &a, &b, &c, &d))
			b = c = 0;
		words[i] = (sets[i].reg == EBX ? b : c) & sets[i].instructions;
	}
	words[SETS] = kept_registers();
	return SETS + 1;
}

#else
#include <sys/auxv.h>

size_t cw_cpu_features(uint32_t *words)
{
	uint64_t caps[] = { getauxval(AT_HWCAP), getauxval(AT_HWCAP2) };
	for (size_t i = 0; i < 4; i++)
		words[i] = (uint32_t)(caps[i / 2] >> (32 * (i % 2)));
	return 4;
}
#endif
