/* Prints the kernel's verifier selftests, one field a line, so that Python can read them.
 *
 * "cases.h" is made from the kernel's sources when the test runs (verifier_selftests.py): their struct bpf_test, their macros
 * and fill functions, and one array for each file of tools/testing/selftests/bpf/verifier.  Nothing of it is kept.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <linux/btf.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include "bpf_rand.h"
#include "test_btf.h"
#include "tools_filter.h"

#define offsetofend(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))
#include "cases.h"

static void hex(const char *key, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	printf("%s ", key);
	for (size_t i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	putchar('\n');
}

static void text(const char *key, const char *value)
{
	if (value)
		hex(key, value, strlen(value));
}

static void places(const char *key, const int *list)
{
	if (!*list)
		return;
	printf("map %s", key);
	for (int i = 0; i < MAX_FIXUPS && list[i]; i++)
		printf(" %d", list[i]);
	putchar('\n');
}

static void dump(const char *file, struct bpf_test *test)
{
	struct bpf_insn *code = test->insns;
	int length = MAX_INSNS;

	printf("case %s\n", file);
	text("descr", test->descr);
	if (test->fill_helper) {
		test->fill_insns = calloc(MAX_TEST_INSNS, sizeof(struct bpf_insn));
		test->fill_helper(test);
		code = test->fill_insns;
		length = test->prog_len;
	} else {
		while (length > 1 && !code[length - 1].code && !code[length - 1].imm)
			length--;
	}
	hex("code", code, length * sizeof(*code));
	free(test->fill_insns);
	places("hash_8b", test->fixup_map_hash_8b);
	places("hash_48b", test->fixup_map_hash_48b);
	places("hash_16b", test->fixup_map_hash_16b);
	places("array_48b", test->fixup_map_array_48b);
	places("sockmap", test->fixup_map_sockmap);
	places("sockhash", test->fixup_map_sockhash);
	places("xskmap", test->fixup_map_xskmap);
	places("stacktrace", test->fixup_map_stacktrace);
	places("prog1", test->fixup_prog1);
	places("prog2", test->fixup_prog2);
	places("map_in_map", test->fixup_map_in_map);
	places("cgroup_storage", test->fixup_cgroup_storage);
	places("percpu_cgroup_storage", test->fixup_percpu_cgroup_storage);
	places("spin_lock", test->fixup_map_spin_lock);
	places("array_ro", test->fixup_map_array_ro);
	places("array_wo", test->fixup_map_array_wo);
	places("array_small", test->fixup_map_array_small);
	places("sk_storage", test->fixup_sk_storage_map);
	places("event_output", test->fixup_map_event_output);
	places("reuseport_array", test->fixup_map_reuseport_array);
	places("ringbuf", test->fixup_map_ringbuf);
	places("timer", test->fixup_map_timer);
	places("kptr", test->fixup_map_kptr);
	for (int i = 0; i < MAX_FIXUPS && test->fixup_kfunc_btf_id[i].kfunc; i++)
		printf("kfunc_at %s %d\n", test->fixup_kfunc_btf_id[i].kfunc, test->fixup_kfunc_btf_id[i].insn_idx);
	text("errstr", test->errstr);
	text("errstr_unpriv", test->errstr_unpriv);
	printf("result %d %d\n", test->result, test->result_unpriv);
	printf("type %d %d %d\n", test->prog_type, test->expected_attach_type, test->flags);
	text("target", test->kfunc);
	for (int i = 0; i < test->func_info_cnt; i++)
		printf("function %u %u\n", test->func_info[i].insn_off, test->func_info[i].type_id);
	if (test->btf_types[0]) {
		int count = 0;

		while (count < MAX_BTF_TYPES && test->btf_types[count] != BTF_END_RAW)
			count++;
		hex("btf_types", test->btf_types, count * 4);
		hex("btf_strings", test->btf_strings, sizeof(test->btf_strings));
	}
}

int main(void)
{
	hex("map_btf_types", btf_raw_types, sizeof(btf_raw_types));
	hex("map_btf_strings", btf_str_sec, sizeof(btf_str_sec));
#define ALL(array, file)                                                    \
	for (size_t i = 0; i < sizeof(array) / sizeof(array[0]); i++)       \
		dump(file, &array[i]);
#include "all.h"
	return 0;
}
