// node speed.mjs ENCODER NAME=FILE…: our speed over tiktoken's, in CPU time, taking turns, median of five; then
// one unbroken word of 1 MB and of 10 MB, also with a byte-fallback and a Unigram vocabulary. Files are cut into documents of 8 KiB.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { texts } from './texts.mjs';
import * as made from './vocabularies.mjs';

const require = createRequire(import.meta.url);
const { Tiktoken } = require('tiktoken');
const modules = dirname(dirname(require.resolve('tokenizers')));
const program = spawn(process.argv[2], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
async function ask(request) {
    program.stdin.write(JSON.stringify(request) + '\n');
    return JSON.parse((await answers.next()).value);
}
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const folder = mkdtempSync(join(tmpdir(), 'tokenizer-speed-'));
const corpora = process.argv.slice(3).map((argument) => {
    const [name, file] = argument.split('=');
    const text = readFileSync(file, 'utf8').replaceAll('\0', ' ');
    const documents = [];
    for (let i = 0; i < text.length; i += 8192) documents.push(text.slice(i, i + 8192).toWellFormed?.() ?? text.slice(i, i + 8192).replace(/[\ud800-\udbff]$|^[\udc00-\udfff]/g, ''));
    const path = join(folder, name);
    writeFileSync(path, documents.join('\0'));
    return { name, documents, path, bytes: Buffer.byteLength(documents.join('')) };
});
const word = (megabytes) => {
    const path = join(folder, `word${megabytes}`);
    writeFileSync(path, 'abcdefgh'.repeat(megabytes * 125000));
    return path;
};
async function unbrokenWord(name) {
    const one = (await ask({ measure: word(1) })).seconds, ten = (await ask({ measure: word(10) })).seconds;
    console.log(`${name} unbroken word: 1 MB ${one.toFixed(2)} s, 10 MB ${ten.toFixed(2)} s, ratio ${(ten / one).toFixed(1)}`);
}
for (const encoding of ['r50k_base', 'cl100k_base', 'o200k_base']) {
    const { pat_str, special_tokens, bpe_ranks } = require(`tiktoken/encoders/${encoding}.json`);
    const engine = new Tiktoken(bpe_ranks, special_tokens, pat_str);
    await ask({ tokenizer: join(modules, 'gpt-tokenizer', 'data', `${encoding}.tiktoken`) });
    for (const { name, documents, path, bytes } of corpora) {
        const ours = [], theirs = [];
        for (let round = 0; round < 5; ++round) {
            ours.push((await ask({ measure: path })).seconds);
            const begin = process.cpuUsage();
            for (const text of documents) engine.encode_ordinary(text);
            const used = process.cpuUsage(begin);
            theirs.push((used.user + used.system) / 1e6);
        }
        const [a, b] = [median(ours), median(theirs)];
        console.log(`${encoding} ${name}: ${(bytes / a / 1e6).toFixed(1)} MB/s, tiktoken ${(bytes / b / 1e6).toFixed(1)} MB/s, ratio ${(b / a).toFixed(1)}`);
    }
    await unbrokenWord(encoding);
    engine.free();
}
// The families that no package ships, in vocabularies made as the parity tests make them.
const sample = texts().slice(0, 400);
for (const [name, json] of Object.entries({ 'byte fallback': made.byteFallback(sample), unigram: made.unigram(sample, { fallback: true, scheme: 'always', normalizer: null }) })) {
    const path = join(folder, 'made.json');
    writeFileSync(path, json);
    await ask({ tokenizer: path });
    await unbrokenWord(name);
}
program.stdin.end();
rmSync(folder, { recursive: true });
