#include "fold.h"

namespace linscope {

Regrouped regroup(const uint32_t *parent, const uint32_t *label, size_t nodes, const uint32_t *leaf,
                  const uint32_t *group, size_t pairs) {
    Tree tree;
    // Where a node of the old tree went, for the group that was asked for last, and for other groups by hash.
    std::vector<uint32_t> last_group(nodes, kNoLabel), last_node(nodes, 0);
    std::vector<uint32_t> path;
    Regrouped result;
    result.leaf.reserve(pairs);
    for (size_t i = 0; i < pairs; i++) {
        path.clear();
        uint32_t at = leaf[i];
        while (at != 0 && last_group[at] != group[i]) {
            path.push_back(at);
            at = parent[at];
        }
        uint32_t node = at != 0 ? last_node[at] : tree.child(0, group[i], 1);
        for (size_t k = path.size(); k-- > 0;) {
            uint32_t old = path[k];
            if (label[old] != kNoLabel) {
                node = tree.child(node, label[old], 0);
            }
            last_group[old] = group[i];
            last_node[old] = node;
        }
        result.leaf.push_back(node);
    }
    size_t count = tree.size();
    result.parent.resize(count);
    result.label.resize(count);
    result.group.resize(count, 0);
    for (size_t n = 0; n < count; n++) {
        const Tree::Node &node = tree.node(n);
        result.parent[n] = node.parent;
        result.label[n] = static_cast<uint32_t>(node.label);
        result.group[n] = tree.kind(n) == 1 ? result.label[n] : result.group[node.parent];
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
