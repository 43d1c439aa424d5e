.type socket_filter
.map counts hash 4 8 1024

  r6 = r1                        # the packet
  r0 = 0
  *(u32 *)(r10 -4) = r0          # key 0
  r2 = r10
  r2 += -4
  r1 = map[counts]
  call bpf_map_lookup_elem
  if r0 == 0 goto miss
  r1 = 1
  lock *(u64 *)(r0 +0) += r1   
miss:
  r0 = 7
  exit
