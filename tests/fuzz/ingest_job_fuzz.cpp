// What an ingest writes down as JSON: its job as ranks pass it on, and the record in a corpus of how its
// documents were cut. The first byte says which one the rest is.

#include "coordinator/ingest/ingest_job.h"
#include "tests/fuzz/support/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lockstep;
    if (size == 0) return 0;
    const std::string text(fuzz::text_of(data + 1, size - 1));
    fuzz::read_or_refuse([&] {
        if (data[0] % 2 == 0) {
            const IngestRecord record = parse_ingest_record(text);
            parse_ingest_record(ingest_record_of(record.document, record.policy));
            return;
        }
        const IngestJob job = IngestJob::from_json(text);
        for (const IngestPiece& piece : job.pieces) job.bytes_of(piece);
        IngestJob::from_json(job.to_json());
        job.pieces_json();
    });
    return 0;
}
