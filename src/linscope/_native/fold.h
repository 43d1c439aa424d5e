// Trees of stacks, regrouped and summed.
#pragma once
#include <cstdint>
#include <vector>

#include "intern.h"

namespace linscope {

constexpr uint32_t kNoLabel = 0xFFFFFFFFu; // a node with it is left out: its children move up to its parent

// The tree of chains with its frames: a frame is a place in code in one address space.
struct SpaceFrames {
    bool found = false;          // false: a node belongs to two spaces, the tree has to be regrouped
    std::vector<uint32_t> frame; // of each node; kNoLabel: of none of the leaves
    std::vector<uint32_t> place, space; // of each frame
};

// place[n] is that of node n; kernel[p] != 0: place p means the same in all spaces, which is space 0.
// (leaf[i], space[i]): a node and the space it was sampled in.
SpaceFrames frames_by_space(const uint32_t *parent, const uint32_t *place, size_t nodes, const uint8_t *kernel,
                            size_t places, const uint32_t *leaf, const uint32_t *space, size_t pairs);

struct Regrouped {
    std::vector<uint32_t> leaf;   // for each pair, its node in the new tree
    std::vector<uint32_t> parent; // of the new tree; node 0 is the root, its children are the groups
    std::vector<uint32_t> label;  // of the new tree; of a group node: the group
    std::vector<uint32_t> group;  // of the new tree
};

// A new tree with one subtree per group: (leaf[i], group[i]) are pairs of a node in the old tree and a group.
// label[n] is the label of node n of the old tree.  Nodes with the same labels down from the root become one.
// Every parent[n] < n for n > 0, every leaf and label index is in range: the caller has checked.
Regrouped regroup(const uint32_t *parent, const uint32_t *label, size_t nodes, const uint32_t *leaf,
                  const uint32_t *group, size_t pairs);

// total[n] = self[n] + the totals of its children.
void accumulate(const uint32_t *parent, size_t nodes, int64_t *total);

// For each node: 1 if no ancestor below its group node has the same label, else 0.  With it, sums of totals by label
// count a recursive function once.
std::vector<uint8_t> outermost(const uint32_t *parent, const uint32_t *label, size_t nodes, uint32_t labels);

} // namespace linscope
