// Writes the Parquet fixtures of this folder with two independent writers (npm hyparquet-writer 0.17.0 and
// parquet-wasm 0.8.0 with apache-arrow): node make_parquet_fixtures.mjs FOLDER
import { writeFileSync } from 'fs'
import { parquetWriteBuffer } from 'hyparquet-writer'
import * as arrow from 'apache-arrow'
import { Table as WasmTable, WriterPropertiesBuilder, Compression, Encoding, WriterVersion, writeParquet } from 'parquet-wasm/node'

const folder = process.argv[2]
const rows = 300
const text = i => i % 7 === 0 ? 'the same text' : `row ${i} – grüße ${'x'.repeat(i % 50)}`
const texts = Array.from({ length: rows }, (_, i) => text(i))
const ids = Array.from({ length: rows }, (_, i) => BigInt(1000 + i))
const lists = Array.from({ length: rows }, (_, i) => Array.from({ length: i % 4 }, (_, j) => `part ${j} of ${i}`))
const nullable = Array.from({ length: rows }, (_, i) => i % 5 === 3 ? null : text(i))

// hyparquet-writer: plain, snappy.
const columns = [{ name: 'id', data: ids, type: 'INT64' }, { name: 'text', data: texts, type: 'STRING' }]
for (const codec of ['UNCOMPRESSED', 'SNAPPY']) {
  writeFileSync(`${folder}/hyparquet-${codec.toLowerCase()}.parquet`,
    Buffer.from(parquetWriteBuffer({ columnData: columns, codec, rowGroupSize: 120 })))
}

// parquet-wasm: every codec, page version and dictionary setting that is read.
const table = (data) => {
  const vectors = {}
  for (const [name, values, type] of data) vectors[name] = arrow.vectorFromArray(values, type)
  return WasmTable.fromIPCStream(arrow.tableToIPC(new arrow.Table(vectors), 'stream'))
}
const write = (name, data, options) => {
  let builder = new WriterPropertiesBuilder()
    .setCompression(options.codec).setMaxRowGroupSize(128).setDictionaryEnabled(options.dictionary)
    .setWriterVersion(options.version)
  if (!options.dictionary) builder = builder.setEncoding(Encoding.PLAIN)
  writeFileSync(`${folder}/${name}.parquet`, writeParquet(table(data), builder.build()))
}
const utf8 = new arrow.Utf8(), int64 = new arrow.Int64()
const plain = [['id', ids, int64], ['text', texts, utf8]]
const list = [['id', ids, int64], ['text', lists, new arrow.List(new arrow.Field('element', utf8, true))]]
const chat = [['id', texts.map((_, i) => `chat-${i}`), utf8], ['prompt', texts, utf8], ['response', texts.map((_, i) => `answer ${i}`), utf8]]
const v1 = WriterVersion.V1, v2 = WriterVersion.V2
write('wasm-v1-dictionary-snappy', plain, { codec: Compression.SNAPPY, dictionary: true, version: v1 })
write('wasm-v1-plain-gzip', plain, { codec: Compression.GZIP, dictionary: false, version: v1 })
write('wasm-v2-dictionary-zstd', plain, { codec: Compression.ZSTD, dictionary: true, version: v2 })
write('wasm-v2-plain-none', plain, { codec: Compression.UNCOMPRESSED, dictionary: false, version: v2 })
write('wasm-v1-list-zstd', list, { codec: Compression.ZSTD, dictionary: false, version: v1 })
write('wasm-v2-list-dictionary-snappy', list, { codec: Compression.SNAPPY, dictionary: true, version: v2 })
write('wasm-v2-nulls-gzip', [['id', ids, int64], ['text', nullable, utf8]], { codec: Compression.GZIP, dictionary: true, version: v2 })
write('wasm-v1-chat-none', chat, { codec: Compression.UNCOMPRESSED, dictionary: true, version: v1 })
write('wasm-brotli', plain, { codec: Compression.BROTLI, dictionary: true, version: v1 })

// Numbers of every kind that a score may be.
const scores = texts.map((_, i) => i / 7 - 20)
const numbers = [['id', ids, int64], ['text', texts, utf8],
  ['double', scores, new arrow.Float64()], ['float', scores, new arrow.Float32()],
  ['int', texts.map((_, i) => i - 150), new arrow.Int32()], ['unsigned', texts.map((_, i) => 4294967295 - i), new arrow.Uint32()],
  ['long', texts.map((_, i) => BigInt(i) - 150n), int64],
  ['some', scores.map((score, i) => i % 5 === 3 ? null : score), new arrow.Float64()],
  ['infinite', scores.map((score, i) => i === 4 ? Infinity : score), new arrow.Float64()],
  ['list', scores.map(score => [score]), new arrow.List(new arrow.Field('element', new arrow.Float64(), true))]]
write('wasm-v1-numbers-snappy', numbers, { codec: Compression.SNAPPY, dictionary: true, version: v1 })
write('wasm-v2-numbers-none', numbers, { codec: Compression.UNCOMPRESSED, dictionary: false, version: v2 })
writeFileSync(`${folder}/hyparquet-numbers.parquet`, Buffer.from(parquetWriteBuffer({
  columnData: [...columns, { name: 'double', data: scores, type: 'DOUBLE' }, { name: 'float', data: scores, type: 'FLOAT' }],
  codec: 'SNAPPY', rowGroupSize: 120 })))

// Integers of a scale, which are no numbers to us.
writeFileSync(`${folder}/hyparquet-decimal.parquet`, Buffer.from(parquetWriteBuffer({
  columnData: [{ name: 'text', data: ['a', 'b', 'c'] }, { name: 'price', data: [0.5, 1.25, 2] }],
  schema: [{ name: 'root', num_children: 2 },
    { name: 'text', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
    { name: 'price', type: 'INT32', converted_type: 'DECIMAL', scale: 2, precision: 9, repetition_type: 'REQUIRED' }] })))
