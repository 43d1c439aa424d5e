#include "fold.h"

namespace linscope {

SpaceFrames frames_by_space(const uint32_t *parent, const uint32_t *place, size_t nodes, const uint8_t *kernel,
                            size_t places, const uint32_t *leaf, const uint32_t *space, size_t pairs) {
    SpaceFrames result;
    result.frame.assign(nodes, kNoLabel); // at first: the space of each node
    for (size_t i = 0; i < pairs; i++) {
        for (uint32_t at = leaf[i]; at != 0 && result.frame[at] != space[i]; at = parent[at]) {
            if (result.frame[at] != kNoLabel && !kernel[place[at]]) {
                return SpaceFrames{};
            }
            result.frame[at] = space[i];
        }
    }
    std::vector<uint32_t> last(places, kNoLabel); // frame of a place in the space that it was met in last
    PairTable<uint32_t, uint32_t> frames;
    for (size_t n = 1; n < nodes; n++) {
        if (result.frame[n] == kNoLabel) {
            continue;
        }
        uint32_t in = kernel[place[n]] ? 0 : result.frame[n];
        uint32_t &known = last[place[n]];
        if (known == kNoLabel || frames.second[known] != in) {
            known = frames.number(place[n], in);
        }
        result.frame[n] = known;
    }
    result.place = std::move(frames.first);
    result.space = std::move(frames.second);
    result.frame[0] = kNoLabel;
    result.found = true;
    return result;
}

Regrouped regroup(const uint32_t *parent, const uint32_t *label, size_t nodes, const uint32_t *leaf,
                  const uint32_t *group, size_t pairs) {
    Regrouped result;
    {
        PairTable<uint32_t, uint32_t> tree; // (parent, label): eight bytes a node and its slot
        tree.push(0, 0);
        // Where a node of the old tree went, for the group that was asked for last.
        std::vector<uint32_t> last_group(nodes, kNoLabel), last_node(nodes, 0);
        std::vector<uint32_t> path;
        result.leaf.reserve(pairs);
        for (size_t i = 0; i < pairs; i++) {
            path.clear();
            uint32_t at = leaf[i];
            while (at != 0 && last_group[at] != group[i]) {
                path.push_back(at);
                at = parent[at];
            }
            uint32_t node = at != 0 ? last_node[at] : tree.number(0, group[i]);
            for (size_t k = path.size(); k-- > 0;) {
                uint32_t old = path[k];
                if (label[old] != kNoLabel) {
                    node = tree.number(node, label[old]);
                }
                last_group[old] = group[i];
                last_node[old] = node;
            }
            result.leaf.push_back(node);
        }
        result.parent = std::move(tree.first);
        result.label = std::move(tree.second);
    }
    give_back_memory();
    result.group.resize(result.parent.size(), 0);
    for (size_t n = 1; n < result.parent.size(); n++) {
        result.group[n] = result.parent[n] == 0 ? result.label[n] : result.group[result.parent[n]];
    }
    return result;
}

void accumulate(const uint32_t *parent, size_t nodes, int64_t *total) {
    for (size_t n = nodes; n-- > 1;) {
        total[parent[n]] += total[n];
    }
}

std::vector<uint8_t> outermost(const uint32_t *parent, const uint32_t *label, size_t nodes, uint32_t labels) {
    std::vector<uint32_t> first_child(nodes, 0), next_sibling(nodes, 0), active(labels, 0);
    for (size_t n = nodes; n-- > 1;) {
        next_sibling[n] = first_child[parent[n]];
        first_child[parent[n]] = static_cast<uint32_t>(n);
    }
    std::vector<uint8_t> result(nodes, 0);
    // Group nodes carry group numbers, not labels: each group's subtree is walked by itself, depth first.
    for (uint32_t group = nodes ? first_child[0] : 0; group != 0; group = next_sibling[group]) {
        uint32_t at = first_child[group];
        while (at != 0) {
            uint32_t &depth = active[label[at]];
            result[at] = depth == 0;
            depth++;
            if (first_child[at] != 0) {
                at = first_child[at];
                continue;
            }
            while (at != group) {
                active[label[at]]--;
                if (next_sibling[at] != 0) {
                    at = next_sibling[at];
                    break;
                }
                at = parent[at];
            }
            if (at == group) {
                break;
            }
        }
    }
    return result;
}

} // namespace linscope
