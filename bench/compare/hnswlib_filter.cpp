// hnswlib with filters in native code, for peers.py: rows pass whose bit in `allow` is set and that are
// not in the query's own list of denied rows. The PyPI package can only call a Python function for each
// candidate, and would be measured far slower than it is.
#include "hnswlib/hnswlib.h"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Shim {
    hnswlib::InnerProductSpace space;
    hnswlib::HierarchicalNSW<float> index;
    Shim(const char *path, size_t dim) : space(dim), index(&space, path) {}
};

struct Bits : hnswlib::BaseFilterFunctor {
    std::vector<uint8_t> bits;
    bool operator()(hnswlib::labeltype row) override { return (bits[row >> 3] >> (row & 7)) & 1; }
};

} // namespace

extern "C" void *shim_open(const char *path, size_t dim) { return new Shim(path, dim); }

// What peers.py passes (class Request there).
struct Request {
    const float *queries;
    size_t n, k, ef;
    const uint8_t *allow; // a bit for each row
    const int32_t *deny;  // deny_n rows for each query
    size_t deny_n;
    int32_t *ids; // n x k, -1 where there are fewer
};

// Seconds spent in searches.
extern "C" double shim_search(void *handle, const Request *r) {
    Shim *shim = static_cast<Shim *>(handle);
    const size_t bytes = (shim->index.cur_element_count + 7) / 8;
    const size_t dim = *static_cast<size_t *>(shim->space.get_dist_func_param());
    Bits filter;
    double seconds = 0;
    shim->index.setEf(r->ef);
    for (size_t i = 0; i < r->n; i++) {
        filter.bits.assign(r->allow, r->allow + bytes);
        for (size_t j = 0; j < r->deny_n; j++) {
            const int32_t row = r->deny[i * r->deny_n + j];
            filter.bits[row >> 3] &= static_cast<uint8_t>(~(1u << (row & 7)));
        }
        const auto start = std::chrono::steady_clock::now();
        auto found = shim->index.searchKnn(r->queries + i * dim, r->k, &filter);
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        for (; !found.empty(); found.pop()) {
            r->ids[i * r->k + found.size() - 1] = static_cast<int32_t>(found.top().second);
        }
    }
    return seconds;
}
