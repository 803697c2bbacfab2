/**
 * A checker of the fsx kind: random operations on one file, each compared with a copy in memory.
 *
 *     node exercise-file.mjs FILE SEED OPERATIONS
 *
 * Prints nothing and ends with 0 if every byte was what it must be; else says which operation found which byte.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';

const [file, seedWord, countWord] = process.argv.slice(2);
const SIZE_MAX = 256 * 1024;
let state = Number(seedWord) >>> 0;
let fd = fs.openSync(file, 'w+');
let model = Buffer.alloc(0);
const log = [];

/** The next number below `n`, of a generator that gives the same ones for the same seed. */
function below(n) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
}

function grow(size) {
  if (size > model.length) model = Buffer.concat([model, Buffer.alloc(size - model.length)]);
}

function fail(what) {
  console.error(`seed ${seedWord}, after ${log.length} operations: ${what}\n${log.slice(-12).join('\n')}`);
  process.exit(1);
}

function compare(from, got, wanted) {
  if (got.equals(wanted)) return;
  const at = [...wanted].findIndex((byte, i) => byte !== got[i]);
  fail(`${got.length} bytes from ${from}, wanted ${wanted.length}; differ at ${from + at}: ${got[at]}, wanted ${wanted[at]}`);
}

const operations = {
  write() {
    const from = below(SIZE_MAX - 1);
    const data = Buffer.alloc(1 + below(Math.min(SIZE_MAX - from, 70_000)), 1 + below(255));
    for (let i = 0; i < data.length; i += 97) data[i] = below(256);
    log.push(`write ${from} + ${data.length}`);
    if (fs.writeSync(fd, data, 0, data.length, from) !== data.length) fail('a short write');
    grow(from + data.length);
    data.copy(model, from);
  },
  read() {
    const from = below(SIZE_MAX);
    const got = Buffer.alloc(1 + below(70_000));
    log.push(`read ${from} + ${got.length}`);
    const length = fs.readSync(fd, got, 0, got.length, from);
    compare(from, got.subarray(0, length), model.subarray(from, from + got.length));
  },
  truncate() {
    const size = below(SIZE_MAX);
    log.push(`truncate ${size}`);
    fs.ftruncateSync(fd, size);
    if (size > model.length) grow(size);
    else model = Buffer.from(model.subarray(0, size));
  },
  punch() {
    const from = below(SIZE_MAX - 1);
    const length = 1 + below(SIZE_MAX - from - 1);
    log.push(`punch ${from} + ${length}`);
    const { status, stderr } = spawnSync('fallocate', ['-p', '-o', from, '-l', length, file], { encoding: 'utf8' });
    if (status !== 0) fail(`fallocate: ${stderr}`);
    model.fill(0, Math.min(from, model.length), Math.min(from + length, model.length));
  },
  reopen() {
    log.push('reopen');
    fs.closeSync(fd);
    fd = fs.openSync(file, 'r+');
  },
  sync() {
    log.push('sync');
    fs.fsyncSync(fd);
  },
  copy() {
    log.push('copy and rename');
    fs.copyFileSync(file, `${file}.copy`);
    fs.renameSync(`${file}.copy`, file);
    operations.reopen();
  },
  size() {
    log.push('size');
    if (fs.fstatSync(fd).size !== model.length) fail(`a size of ${fs.fstatSync(fd).size}, wanted ${model.length}`);
  },
};
const mix = [
  'write',
  'write',
  'write',
  'write',
  'read',
  'read',
  'read',
  'read',
  'truncate',
  'size',
  'write',
  'read',
  'write',
  'read',
  'reopen',
  'sync',
];

for (let i = 0; i < Number(countWord); i++) {
  if (i % 97 === 96) operations.punch();
  else if (i % 53 === 52) operations.copy();
  else operations[mix[below(mix.length)]]();
}
compare(0, fs.readFileSync(file), model);
