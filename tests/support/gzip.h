// tests/support/gzip.h
//
// A text as one gzip member.

#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>

namespace lockstep {

inline std::string gzip(const std::string& plain) {
    z_stream zlib{};
    EXPECT_EQ(deflateInit2(&zlib, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&zlib, plain.size()) + 64, '\0');
    std::string in = plain;
    zlib.next_in = reinterpret_cast<Bytef*>(in.data());
    zlib.avail_in = static_cast<uInt>(in.size());
    zlib.next_out = reinterpret_cast<Bytef*>(out.data());
    zlib.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&zlib, Z_FINISH), Z_STREAM_END);
    out.resize(zlib.total_out);
    deflateEnd(&zlib);
    return out;
}

}  // namespace lockstep
