"""Small scripts with an output that follows from the language: each runs in the kernel, by itself, and ends.

What they print was written down before they ran, from bpftrace's documentation (docs/language.md); those that bpftrace
0.17 understands were compared with it too.  Empty lines between what is printed are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from linscope.cli import main; main()", "trace", "-q"]
CASES: list[tuple[str, str]] = [
    ('begin { $x = (int8)127; $x++; print($x); }', '128'),
    ('begin { print((int8)200); }', '-56'),
    ('begin { print((uint8)-1); }', '255'),
    ('begin { print((int16)(uint8)255); }', '255'),
    ('begin { print((uint16)(int8)-1); }', '65535'),
    ('begin { print((int32)0xffffffff); }', '-1'),
    ('begin { print((uint64)-1); }', '18446744073709551615'),
    ('begin { $a = (uint64)-1; print($a + 1); }', '0'),
    ('begin { $a = (int64)9223372036854775807; print($a + 1); }', '-9223372036854775808'),
    ('begin { $a = 7; $b = -2; print(($a / $b, $a % $b, -$a / 2, -$a % 2)); }', '(-3, 1, -3, -1)'),
    ('begin { $a = (uint32)7; $b = (uint32)9; print($a - $b); }', '18446744073709551614'),
    ('begin { $a = -8; print(($a >> 1, $a << 1, -8 >> 1)); }', '(9223372036854775804, -16, -4)'),
    ('begin { $a = (uint64)1 << 63; print($a >> 63); }', '1'),
    (
        'begin { $a = 6; $a &= 3; $b = 6; $b |= 1; $c = 6; $c ^= 3; $d = 6; $d <<= 2; $e = 6; $e >>= 1; '
        '$f = 7; $f %= 4; print(($a,$b,$c,$d,$e,$f)); }',
        '(2, 7, 5, 24, 3, 3)',
    ),
    ('begin { $x = 5; print((-$x, ~$x, !$x, !!$x)); }', '(-5, -6, false, true)'),
    ('begin { print((1 < 2, 2 <= 1, 1 == 1, 1 != 1)); }', '(true, false, true, false)'),
    ('begin { $u = (uint64)5; $s = (int64)-1; print($s < $u); }', 'true'),
    (
        'begin { print(1e3); print(0x1F); print(017); print(1_000_000); print(2m); }',
        '1000\n31\n15\n1000000\n120000000000',
    ),
    ('begin { $i = 0; print($i++ + ++$i); print($i--); print(--$i); }', '2\n2\n0'),
    (
        'begin { print(9223372036854775808); print(-9223372036854775807 - 1); }',
        '9223372036854775808\n-9223372036854775808',
    ),
    ('begin { @ = 1; @ += 300; @ -= 1; @ *= 2; @++; --@; }', '@: 600'),
    ('begin { $x = 10; print($x > 5 ? "big" : "small"); print($x ?: 3); $y = 0; print($y ?: 3); }', 'big\n10\n3'),
    ('begin { print((bool)5); print((bool)0); print((int32)true); }', 'true\nfalse\n1'),
    ('begin { print((uint8[4])0x01020304); print((int8[2])(int16)-1); }', '[4,3,2,1]\n[-1,-1]'),
    ('begin { $a = (uint8[8])0x1122334455667788; print($a[7]); print($a[0]); }', '17\n136'),
    ('begin { print(bswap((uint16)0x1234)); print(bswap((uint32)1)); }', '13330\n16777216'),
    (
        'begin { $s = "hello"; print($s == "hello"); print($s != "help"); print(strncmp($s, "help", 3)); '
        'print(strncmp($s, "help", 4)); }',
        'true\ntrue\n0\n1',
    ),
    (
        'begin { print(strlen("abc")); $s = "hello world"; print(strlen($s)); print(strcontains($s, "o '
        'w")); print(strcontains($s, "xyz")); print(strstr($s, "world")); print(strstr($s, "q")); }',
        '3\n11\ntrue\nfalse\n6\n-1',
    ),
    ('begin { $s = "ab"; if (1) { $s = "abcdef"; } print($s); print(sizeof($s)); }', 'abcdef\n7'),
    ('begin { print("tab\\tq\\"uote\\\\ \\x41 \\101"); }', 'tab\tq"uote\\ A A'),
    ('begin { print("a" "b" "c"); }', 'abc'),
    ('begin { print("äöü€"); print(strlen("äöü")); }', 'äöü€\n6'),
    ('begin { @["a"] = "x"; @["bcd"] = "yyyy"; print(@["a"]); print(@["bcd"]); clear(@) }', 'x\nyyyy'),
    ('begin { let $s : string[4] = "abc"; print($s); }', 'abc'),
    ('begin { print(""); print(strlen("")); print("" == ""); }', '0\ntrue'),
    ('begin { $a = "abc"; $b = "abcd"; print($a == $b); print($a != $b) }', 'false\ntrue'),
    ('begin { printf("%s|%5s|%-5s|%.2s|\\n", "abc", "abc", "abc", "abc"); }', 'abc|  abc|abc  |ab|'),
    (
        'begin { $t = (1, "two", (3, 4)); print($t.0); print($t.1); print($t.2.1); print($t); }',
        '1\ntwo\n4\n(1, two, (3, 4))',
    ),
    ('begin { print((1,)); print(()); }', '(1)\n()'),
    ('begin { $a = (1, "a"); $b = (1, "a"); print($a == $b); $c = (2, "a"); print($a == $c); }', 'true\nfalse'),
    ('begin { $a = (1, "ab"); $a = (300, "abcdef"); print($a); }', '(300, abcdef)'),
    (
        'begin { @[1, "a"] = (2, "b"); @[300, "abc"] = (4, "d"); print(@[1, "a"]); '
        'print(@[300,"abc"].0); clear(@); }',
        '(2, b)\n4',
    ),
    ('begin { @[(1, 2), 3] = 4; print(@[(1,2),3]); }', '4\n@[(1, 2), 3]: 4'),
    (
        'begin { @a[1] = 1; @a[2] = 2; @a[3] = 3; $s = 0; for ($kv : @a) { $s += $kv.0 * $kv.1; } '
        'print($s); clear(@a) }',
        '14',
    ),
    ('begin { @a = 1; @b[@a] = 2; print(@b[1]); clear(@b); clear(@a) }', '2'),
    ('begin { print(@nope[1]); @nope[2] = 5; clear(@nope) }', '0'),
    ('begin { @s["k"] = "v"; print(@s["nokey"]); clear(@s) }', ''),
    ('begin { @x[1] = count(); @x[1] = count(); @x[2] = count(); }', '@x[2]: 1\n@x[1]: 2'),
    ('begin { @ = sum(5); @ = sum(-7); print((int64)@); clear(@) }', '-2'),
    (
        'begin { @a = min(5); @a = min(3); @b = max(-5); @b = max(-3); @c = avg(2); @c = avg(5); '
        'print((int64)@a); print((int64)@b); print((int64)@c); clear(@a); clear(@b); clear(@c); }',
        '3\n-3\n3',
    ),
    ('begin { @ = stats(10); @ = stats(20); }', '@: { .count = 2, .average = 15, .total = 30 }'),
    ('begin { @c = count(); if (@c > 0) { print("yes") } if (@c == 1) { print("one") } clear(@c) }', 'yes\none'),
    ('let @m = lruhash(2); begin { @m[1] = 1; @m[2] = 2; print(len(@m) <= 2); clear(@m) }', 'true'),
    ('begin { @a[1] = 1; zero(@a); print(@a[1]); clear(@a) }', '1'),
    (
        'begin { for $i : 0..5 { if ($i == 1) { continue } if ($i == 4) { break } printf("%d ", $i); } '
        'printf("\\n"); }',
        '0 2 3',
    ),
    (
        'begin { $i = 0; while ($i < 3) { $j = 0; while ($j < 2) { printf("%d%d ", $i, $j); $j++; } '
        '$i++; } printf("\\n"); }',
        '00 01 10 11 20 21',
    ),
    ('begin { unroll(3) { printf("x"); } printf("\\n"); }', 'xxx'),
    ('begin { $s = 0; for $i : -3..3 { $s += $i } print($s); for $i : 5..2 { print("never") } }', '-3'),
    ('begin { $n = 1; for $i : 0..100 { $n = $n * 3 % 1000007; } print($n); }', '664323'),
    ('begin { for $i : 0..3 { for $j : 0..3 { for $k : 0..3 { @s = count() } } } print(@s); clear(@s) }', '@s: 27'),
    (
        'begin { $i = 0; while (1) { $i++; if ($i > 10) { break; } if ($i % 2) { continue; } '
        'printf("%d,", $i); } print($i); }',
        '2,4,6,8,10,11',
    ),
    ('macro add(a, b) { a + b } begin { print(add(1, 2) * 3); }', '9'),
    ('macro inc($x) { $x += 1; $x } begin { $a = 5; print(inc($a)); print($a); }', '6\n6'),
    ('macro twice(x) { $y = x; $y + $y } begin { $y = 7; print(twice($y + 1)); print($y); }', '16\n7'),
    ('macro put(@m, k) { @m[k] = k * 2 } begin { put(@q, 4); print(@q[4]); clear(@q) }', '8'),
    ('macro two() { 2 } begin { print(two); print(two() + 1); }', '2\n3'),
    (
        'macro clampit(v, lo, hi) { v < lo ? lo : (v > hi ? hi : v) } begin { print(clampit(50, 0, 10)); '
        'print(clampit(-5, 0, 10)); print(clampit(5, 0, 10)); }',
        '10\n0\n5',
    ),
    ('begin { $x = { $a = 3; $a * 2 }; print($x); $y = if $x > 5 { "gt" } else { "le" }; print($y); }', '6\ngt'),
    ('begin { if 0 { print(1) } else if 1 { print(2) } else { print(3) } }', '2'),
    ('begin { if (comm == "bpftrace") { print("me") } else { print(comm) } }', 'me'),
    ('begin { return; print(1); }', ''),
    ('begin / 1 == 2 / { print(1); } end { print(2) }', '2'),
    (
        'begin { printf("%d %i %u %x %X %o %c %p\\n", -1, -1, (uint8)255, 255, 255, 8, 65, 4096); }',
        '-1 -1 255 ff FF 10 A 0x1000',
    ),
    ('begin { printf("%05d|%5d|%-5d|%+d|% d\\n", 42, 42, 42, 42, 42); }', '00042|   42|42   |+42| 42'),
    ('begin { printf("%#x %#o %08x\\n", 255, 8, 48879); }', '0xff 010 0000beef'),
    ('begin { printf("%%|%d%%\\n", 5); }', '%|5%'),
    ('begin { printf("%d %d\\n", true, false); }', '1 0'),
    ('begin { print((1, (uint64)2, "x", true, -3)); }', '(1, 2, x, true, -3)'),
    (
        'struct s { int a; char b; short c[3]; } begin { print(sizeof(struct s)); print(offsetof(struct '
        's, c)); }',
        '12\n6',
    ),
    (
        'begin { print(strerror(2)); print(signal_name(9)); print(syscall_name(0)); }',
        'No such file or directory\nSIGKILL\nread',
    ),
    ('begin { let $x : uint8 = 200; $x += 100; print($x) }', '44'),
    ('begin { let $x : int32; print($x); $x = 5; print($x) }', '0\n5'),
    ('begin { $x = (uint8)200; $y = (uint8)100; print($x + $y); print((uint8)($x + $y)); }', '300\n44'),
    ('begin { print($1); print($#); print(str($2)); }', '0\n0'),
    ('begin { $a = (int8[4])1; $b = (int8[4])1; print($a == $b) }', 'true'),
    ('begin { exit(3); print("after"); }', ''),
    ('begin { $x = "abc"; $y = $x; $x = "xyz"; print($y); print($x) }', 'abc\nxyz'),
    ('begin { @x = "abc"; @y = @x; @x = "q"; print(@y); print(@x); clear(@x); clear(@y) }', '@y: abc\n@x: q'),
    (
        'begin { $t = (1, "a"); @m[$t] = 1; for ($kv : @m) { print($kv.0.1); print($kv) } clear(@m) }',
        'a\n((1, a), 1)',
    ),
    ('begin { $i = 3; $s = $i == 3 ? (1, "yes") : (300, "no!!"); print($s) }', '(1, yes)'),
    ('begin { let $x : uint8 = 200; $x += 100; print($x); let $y : int8 = 127; $y++; print($y); }', '44\n-128'),
    ('begin { print(5u - 10); print(9223372036854775807 + 1); }', '18446744073709551611\n9223372036854775808'),
    ('begin { $s = "x" ; for $i : 0..3 { $s = "long string"; } print($s); }', 'long string'),
    (
        'begin { @a[1] = 10; @a[2] = 20; delete(@a, 1); print(len(@a)); print(has_key(@a, 2)); '
        'print(has_key(@a, 1)); clear(@a); }',
        '1\ntrue\nfalse',
    ),
    ('begin { $t = (a=1, b="x"); print($t.a); print($t.b); print($t); }', '1\nx\n{ .a = 1, .b = x }'),
    (
        'begin { printf("%hhd %hd %d %ld %lld\\n", 300, 70000, 5000000000, 5000000000, -5); }',
        '44 4464 705032704 5000000000 -5',
    ),
    ('begin { printf("%s %s\\n", 1 == 1, (int32)5 > 3); }', 'true true'),
    ('begin { printf("%rx|%r\\n", buf("abc\\x01", 4), buf("ab\\xff", 3)); }', '\\x61\\x62\\x63\\x01|ab\\xff'),
    (
        'enum E { A = 1, B = 5 } begin { $e = B; print($e); print(A); printf("%s %d\\n", $e, $e); '
        'print((enum E)1); }',
        'B\nA\nB 5\nA',
    ),
    (
        'begin { print(ntop(0x0100007f)); print(ntop(pton("::1"))); print(macaddr((uint8[6])(uint64)1)) }',
        '127.0.0.1\n::1\n01:00:00:00:00:00',
    ),
    ('begin { $a = 5; print($a / 0); print($a % 0); }', '0\n5'),
    ('begin { print(~(uint8)1); print(~1); }', '254\n-2'),
    ('begin { @[1] = 3; @[2] = 1; @[3] = 2; print(@, 2); clear(@) }', '@[3]: 2\n@[1]: 3'),
    ('begin { @a = (uint8)200; @a += 100; print(@a); clear(@a) }', '@a: 300'),
    ('macro m(x) { if x > 2 { "big" } else { "small" } } begin { print(m(1)); print(m(3)); }', 'small\nbig'),
    ('macro a(x) { x + 1 } macro b(x) { a(x) * a(x + 1) } begin { print(b(3)); }', '20'),
    ('begin { $x = (1, (2, (3, "deep"))); print($x.1.1.1); $y = $x.1; print($y.1.0); }', 'deep\n3'),
    (
        'begin { @m["a", 1] = 5; @m["b", 2] = 6; for ($kv : @m) { if ($kv.0.0 == "b") { print($kv.1); } '
        '} clear(@m); }',
        '6',
    ),
    (
        'begin { @q[1] = (1, "one"); @q[2] = (2, "two!"); $v = @q[2]; print($v.1); print(@q[3]); clear(@q); }',
        'two!\n(0, )',
    ),
    ('begin { @s = sum(1); @s = sum(2); @c = count(); $t = (@s, @c); print($t); clear(@s); clear(@c); }', '(3, 1)'),
    ('begin { for $i : 0..1000 { @[$i % 3] = sum($i); } }', '@[1]: 166167\n@[2]: 166500\n@[0]: 166833'),
    ('begin { $n = 0; while ($n < 100000) { $n++; } print($n); }', '100000'),
    (
        'begin { printf("%-8s|%8s|%.3s\\n", "ab", "cd", "efghij"); printf("%5c|%-3c|\\n", 65, 66); }',
        'ab      |      cd|efg\n    A|B  |',
    ),
    (
        'begin { printf("%20lld|%-20llu|\\n", -1, (uint64)-1); printf("%016llx\\n", 255); }',
        '                  -1|18446744073709551615|\n00000000000000ff',
    ),
    ('begin { print(nsecs > 0 && pid > 0); print(nsecs == 0 || tid == 0); }', 'true\nfalse'),
    (
        'begin { $i = 0; $r = $i++ == 0 && $i++ == 1; print(($r, $i)); $q = false && $i++ > 0; '
        'print(($q, $i)); }',
        '(true, 2)\n(false, 2)',
    ),
    (
        'struct p { uint8 a : 3; uint8 b : 5; uint32 c; } begin { print(sizeof(struct p)); '
        'print(offsetof(struct p, c)); }',
        '8\n4',
    ),
    ('begin { print((int8)-128); print(-(int8)-128); print((int64)(int8)-1 == -1); }', '-128\n128\ntrue'),
    (
        'begin { print(2 + 3 * 4 - 10 / 3 % 2); print((2 + 3) * 4); print(1 | 6 & 3 ^ 1); print(1 << 2 + 1); }',
        '13\n20\n3\n8',
    ),
    ('begin { print(!0 && !1 || 1); print(1 < 2 == true); print(5 & 3 == 1); }', 'true\ntrue\n0'),
    ('begin { if (strcontains("hello", "ell") && strlen("xyz") == 3) { print("both") } }', 'both'),
    (
        'begin { print(default_str_length()); print(is_str("a")); print(is_integer(5)); '
        'print(is_ptr((int8*)0)); print(is_array((int8[2])(int16)1)); }',
        '1024\ntrue\ntrue\ntrue\ntrue',
    ),
    ('begin { $x = 1; { $y = 2; $x += $y; } print($x); }', '3'),
    ('begin { @x[1, "a", true] = 1; print(@x[1, "a", true]); delete(@x[1, "a", true]); print(len(@x)) }', '1\n0'),
    ('begin { @a[1] = 1; @a[1]++; ++@a[1]; @a[1]--; print(@a[1]++); print(@a[1]); clear(@a) }', '2\n3'),
    ('begin { print((1, 2) == (1, 2)); print((1, "a") != (1, "b")); }', 'true\ntrue'),
    ('begin { $x = "abc"; if ($x == "abc") { print("eq") } if ("abd" != $x) { print("ne") } }', 'eq\nne'),
    (
        'begin { print(sizeof(int64)); print(sizeof((1, 2))); print(sizeof("abc")); print(sizeof(uint16[4])); }',
        '8\n2\n4\n8',
    ),
    (
        'begin { @ = max(-5); @ = max(-10); print(@); clear(@); @u = min((uint64)-1); print(@u); clear(@u) }',
        '@: -5\n@u: 18446744073709551615',
    ),
    (
        'begin { @a["x"] = 1; @a["y"] = 2; @a["z"] = 3; for ($kv : @a) { if ($kv.1 == 2) { continue; } '
        '@b[$kv.0] = $kv.1; } print(len(@b)); clear(@a); clear(@b) }',
        '2',
    ),
    ('begin { for $i : 0..10 { if ($i == 3) { return; } printf("%d ", $i); } printf("never\\n"); }', '0 1 2'),
    (
        'begin { for $i : 0..3 { for $j : 0..3 { if ($j == 1) { break; } printf("%d%d ", $i, $j); } } '
        'printf("\\n"); }',
        '00 10 20',
    ),
    (
        'begin { @m[1] = "a"; @m[2] = "much longer"; @m[1] = "mid"; print(@m[1]); print(@m[2]); clear(@m); }',
        'mid\nmuch longer',
    ),
    (
        'begin { $t = (1, ("a", 2)); $t = (70000, ("longer", 3)); print($t); print($t.1.0); }',
        '(70000, (longer, 3))\nlonger',
    ),
    ('begin { if (pid > 0) { $x = "in"; } print($x); }', 'in'),
    ('begin { $x = 5; if ($x > 3) { let $y = $x * 2; print($y); } let $y = 1; print($y); }', '10\n1'),
    (
        'macro acc(@m, k, v) { @m[k] += v; @m[k] } begin { print(acc(@q, "a", 5)); print(acc(@q, "a", '
        '7)); clear(@q); }',
        '5\n12',
    ),
    (
        'macro max2(a, b) { a > b ? a : b } macro max3(a, b, c) { max2(max2(a, b), c) } begin { '
        'print(max3(3, 9, 4)); print(max3(10, 9, 4)); print(max3(1, 2, 3)); }',
        '9\n10\n3',
    ),
    ('begin { if comptime (sizeof(int64) == 8) { print("64") } else { print("no") } }', '64'),
    (
        'begin { $i = 0; unroll(4) { $i += 2; } print($i); unroll(2) { if ($i > 9) { print("x"); } $i++; '
        '} print($i) }',
        '8\n10',
    ),
    ('begin { $i = 10; while ($i > 0) { $i -= 3; if ($i < 5) { break } } print($i); }', '4'),
    (
        'begin { @x[1] = 5; $p = @x[1] > 3 ? "yes" : "no"; print($p); @x[1] = 2; $p = @x[1] > 3 ? "yes" '
        ': "no"; print($p); clear(@x) }',
        'yes\nno',
    ),
    ('begin { $a = 1; $b = $a++ + $a++; print($b); print($a); $c = --$a * 2; print($c) }', '3\n3\n4'),
    (
        'begin { @c["a"] = count(); @c["a"] = count(); @c["b"] = count(); for ($kv : @c) { if ($kv.0 == '
        '"a") { print((int64)$kv.1); } } clear(@c) }',
        '2',
    ),
    (
        'begin { @s = "abc"; if (@s == "abc") { print("same") } @s = "abcd"; if (@s != "abc") { '
        'print("differs") } clear(@s) }',
        'same\ndiffers',
    ),
    (
        'begin { $x = -1; $y = (uint32)$x; print($y); $z = (uint64)$y; print($z); print((int64)(int32)$y) }',
        '4294967295\n4294967295\n-1',
    ),
    (
        'begin { print(10 % 3); print(-10 % 3); print(10 % -3); $m = -10; print($m % 3); print($m / 3); '
        'print($m / -3); }',
        '1\n-1\n1\n-1\n-3\n3',
    ),
    (
        'begin { @h = hist(100, 2); @h = hist(5, 2); clear(@h); @l = lhist(50, 0, 100, 10); print(@l); '
        'clear(@l); }',
        '@l:\n[50, 60)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|',
    ),
    (
        'begin { @a[1, 2] = (3, "x"); for ($kv : @a) { print($kv); print($kv.0.0 + $kv.1.0); } clear(@a) }',
        '((1, 2), (3, x))\n4',
    ),
    (
        'begin { $a = (int32*)0; print($a); $a++; print($a); print((uint64)($a + 2)); print($a - (int32*)0) }',
        '0x0\n0x4\n12\n1',
    ),
    (
        'struct n { int a; struct { char c; long d; } in; int arr[3]; } begin { print(sizeof(struct n)); '
        'print(offsetof(struct n, in.d)); print(offsetof(struct n, arr)); }',
        '40\n16\n24',
    ),
    ('union u { int a; char b[10]; } begin { print(sizeof(union u)); }', '12'),
    (
        'enum c { RED, GREEN = 5, BLUE } begin { print(BLUE); printf("%d %s\\n", RED, BLUE); print((enum '
        'c)5); print(RED + BLUE); }',
        'BLUE\n0 BLUE\nGREEN\n6',
    ),
    ('#define N 5\n#define SQ N * N\nbegin { print(SQ); print(N + SQ); }', '25\n30'),
    (
        'begin { printf("[%10s][%-10s][%.2s]\\n", "right", "left", "cut"); printf("%c%c\\n", 0x48, 105); }',
        '[     right][left      ][cu]\nHi',
    ),
    ('begin { printf("%d%%, %s\\n", 50, "a%sb"); }', '50%, a%sb'),
    ('begin { printf("no newline"); printf("\\n"); printf("\\t|\\n"); }', 'no newline\n\t|'),
    ('begin { print(nsecs(boot) > 0); print(nsecs(tai) > nsecs(monotonic)); }', 'true\ntrue'),
    ('begin { time("%%\\n"); }', '%'),
    ('begin { $x = 0; if ($x++ == 0 || $x++ == 0) { print($x) } }', '1'),
    ('begin { print(1 == 1 ? 2 == 2 ? "a" : "b" : "c"); }', 'a'),
    (
        'begin { print(is_literal(5)); $x = 5; print(is_literal($x)); print(is_unsigned_integer((uint8)5)); }',
        'true\nfalse\ntrue',
    ),
    (
        'begin { $e = (0 == 1); print($e); $e = true; print($e); @b[true] = 1; @b[false] = 2; print(@b[1 '
        '== 1]); clear(@b) }',
        'false\ntrue\n1',
    ),
    ('begin { @a = (1, 2); @a = (300, 400); print(@a); print(@a.1); clear(@a) }', '@a: (300, 400)\n400'),
    ('let @p = percpuhash(5); begin { @p[1] = 5; @p[1] += 3; print(@p[1]); clear(@p) }', '8'),
    ('begin { @x[comm] = 1; for ($kv : @x) { printf("%s=%d\\n", $kv.0, $kv.1); } clear(@x) }', 'bpftrace=1'),
    (
        'begin { $s = comm; $t = $s; if ($t == comm) { print($t) } print(strlen($s)); print($s[0]); }',
        'bpftrace\n8\n98',
    ),
    (
        'begin { @a[1] = sum(5); @a[2] = sum(7); $t = 0; for ($kv : @a) { $t += (int64)$kv.1; } '
        'print($t); clear(@a); }',
        '12',
    ),
    ('begin { @a = avg(3); @a = avg(4); print((int64)@a); $x = @a + 1; print($x); clear(@a) }', '3\n4'),
    ('begin { if (strncmp("hello world", "hello", 5) == 0 && !strncmp("a", "a", 1)) { print("ok") } }', 'ok'),
    ('begin { $a = "x"; $b = "y"; print(($a, $b, $a == $b, ($a, 1))); }', '(x, y, false, (x, 1))'),
    ('begin { $x = if 1 { 5 } else { 600 }; print($x); $y = { let $q = 3; $q * $q }; print($y) }', '5\n9'),
    (
        'begin { $b = (uint8[4])0x04030201; $s = 0; for $i : 0..4 { $s += $b[$i]; } print($s); '
        'print($b[5 - 2]); }',
        '10\n4',
    ),
    (
        'begin { print((int32[2])(uint64)0x0000000200000001); print((uint16[2])(uint32)0xffff0001); }',
        '[1,2]\n[1,65535]',
    ),
    ('begin { delete(@a, 1); @a[1] = 2; print(delete(@a, 1)); print(delete(@a, 1)); }', 'true\nfalse'),
    (
        'begin { @m[1] = 2; if (find(@m, 1, $v)) { print($v) } else { print("no") } if (find(@m, 5, $w)) '
        '{ print($w) } else { print("none") } clear(@m) }',
        '2\nnone',
    ),
    ('begin { printf("%s %s\\n", "ä", "日本"); print(("ü", "€")); }', 'ä 日本\n(ü, €)'),
    ('begin { print((int64)0xffffffffffffffff); print(-0x8000000000000000); }', '-1\n-9223372036854775808'),
    ('begin { print("a\\0b"); printf("%s|\\n", "a\\0b"); print(strlen("a\\0b")) }', 'a\na|\n1'),
    (
        'begin { @u = min((uint64)-1); @v = sum((uint64)-1); print(@u); print(@v); clear(@u); clear(@v); }',
        '@u: 18446744073709551615\n@v: 18446744073709551615',
    ),
    ('begin { print(ctx == 0 || ctx > 0); $x = (uint64)ctx; print($x >> 1 == ctx >> 1); }', 'true\ntrue'),
]  # fmt: skip


def run(script: str, *words: str) -> tuple[str, str]:
    """(output without empty lines, errors)"""
    if os.geteuid() != 0:
        pytest.skip("needs root: scripts are run in the kernel")
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(
        [*COMMAND, "-e", script, *words], capture_output=True, text=True, timeout=60, cwd=root, stdin=subprocess.DEVNULL
    )
    return "\n".join(line.rstrip() for line in done.stdout.split("\n") if line.strip()), done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize(("script", "output"), CASES, ids=[script[:60] for script, _ in CASES])
def test_script(script: str, output: str) -> None:
    assert run(script) == (output, "")


@pytest.mark.kernel
def test_more_than_loads_reach() -> None:
    """60 strings of a kilobyte in one program."""
    sets = "".join(f"$s{number} = str(0); $n{number} = nsecs; " for number in range(60))
    uses = "".join(f'$s{number} = "x{number}"; $n{number} += 1; ' for number in range(60))
    shows = "".join(f"print(($s{number}, $n{number} > 5)); " for number in range(60))
    output, errors = run(f"begin {{ {sets} while ($n1 > 0) {{ {uses} break; }} {shows} }}")
    assert (output.split("\n"), errors) == ([f"(x{number}, true)" for number in range(60)], "")


@pytest.mark.kernel
def test_parameters() -> None:
    script = "begin { print($1 + 1); print(str($2)); print($#); print(str($3)); }"
    assert run(script, "41", "word") == ("42\nword\n2", "")


@pytest.mark.kernel
def test_bytes_that_are_no_text() -> None:
    """What the command line holds goes through as it is."""
    if os.geteuid() != 0:
        pytest.skip("needs root: scripts are run in the kernel")
    done = subprocess.run([*COMMAND, "-e", b'begin { printf("\xff\xfe\n"); }'], capture_output=True, timeout=60)
    assert done.stdout.strip() == b"\xff\xfe"
