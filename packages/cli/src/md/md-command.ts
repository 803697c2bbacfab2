/**
 * `tidemark md`: makes, starts and looks after RAID1 arrays. Of an array that nobody serves the superblocks are edited: it is assembled in a
 * kernel of this command's own, and stopped again. One that is being served is reached over its server's control socket.
 */
import type { Command } from 'commander';
import { countOption, sizeOption, textOption } from '../grammar.js';
import { JobFailed, UsageError } from '../outcome.js';
import { printJson, printLine } from '../files/printable.js';
import { uuidOption } from '../files/uuid.js';
import { ask } from './control-client.js';
import { create, type CreateWords } from './create.js';
import { perform } from './perform.js';
import { type MdAnswer, type MdRequest, parseRate, type RequestVerb } from './requests.js';
import { type BitmapWord, type StartWords, withStoppedArray } from './stopped-array.js';
import { describeAnswer, SyncTelling } from './telling.js';
import { arrayAndMembers, devicesOf } from './words.js';

const KEYS = `
The keys of --json: arrays [{ name, uuid, sizeBytes, raidDisks, events, state, isDegraded, resyncFromBytes, members [{ name, state, slot,
recoveredBytes, nrCorrectedReads }], refused [{ name, why }], bitmap { where, chunkBytes, nrChunks, nrDirty, nrNeeded, nrCoarse, isFailed },
sync, lastSync }], members [{ device, result }], sync { action, positionBytes, sizeBytes, doneBytes, nrMismatchSectors }, or null for none.`;

const CREATE_EXAMPLES = `
Examples:
  tidemark md create a.img b.img --size 64MiB --bitmap internal           makes the files, too
  tidemark md create a.img b.img --bitmap /mnt/other/bitmap --chunk 64KiB
  tidemark md create a.img --raid-disks 2 --assume-clean                  one of two, for now

What the devices held is lost, unless it is the same on all and --assume-clean says so. Without --force a device that holds a filesystem, a
swap area or a member of an array is left alone. The members are then made equal; --no-wait leaves that to whoever assembles the array next.
${KEYS}`;

const ASSEMBLE_EXAMPLES = `
Examples:
  tidemark md assemble a.img b.img                       resyncs or recovers what needs it, and stops the array clean
  tidemark md assemble a.img --degraded --bitmap none    without its other half, and without its bitmap from now on
  tidemark serve nbd md:a.img,b.img --control unix:/run/md.sock

--bitmap FILE says where the bitmap is that is in a file; internal gives the array one if it has none; none takes away the one it has.
A signal ends a resync; the next one goes on from there.
${KEYS}`;

const STATUS_EXAMPLES = `
Examples:
  tidemark md status a.img b.img
  tidemark md status --control unix:/run/md.sock --json

Nothing is written.
${KEYS}`;

const memberExamples = (verb: string, more: string): string => `
Examples:
  tidemark md ${verb} md:a.img,b.img ${verb === 'add' ? 'c.img' : 'b.img'}
  tidemark md ${verb} ${verb === 'add' ? 'c.img' : 'b.img'} --control unix:/run/md.sock

${more}
${KEYS}`;

const CHECK_EXAMPLES = `
Examples:
  tidemark md check a.img b.img
  tidemark md check --control unix:/run/md.sock --repair

Reads and compares all members. Exit code 1 if they differ; --repair makes them equal to the one in the lowest slot.
${KEYS}`;

interface Words {
  bitmap?: BitmapWord;
  control?: string;
  degraded?: true;
  force?: true;
  memory: number;
  rate?: number;
  repair?: true;
  wait: boolean;
  json?: true;
}

/** Makes the verbs. */
export function mdCommand(group: Command): void {
  const verb = (name: string, description: string, examples: string): Command =>
    group
      .command(name)
      .description(description)
      .option('--bitmap <where>', 'internal, none, or the FILE that it is in', bitmapWord)
      .addOption(sizeOption('--memory', 'page memory of the kernel that does it', 16 * 2 ** 20))
      .option('--json', 'print one JSON object')
      .addHelpText('after', examples);
  const pass = (command: Command): Command =>
    command
      .option('--rate <size>', 'bytes a second that a resync does at most (default: as many as it can)', parseRate)
      .option('--no-wait', 'do not wait for resync and recovery');
  const control = (command: Command): Command => command.option('--control <address>', 'unix:PATH of the server that has the array');
  const degraded = (command: Command): Command => command.option('--degraded', 'also with members missing');

  pass(verb('create', 'Make an array', CREATE_EXAMPLES))
    .argument('<device...>', 'its members: file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT, …')
    .addOption(sizeOption('--size', 'makes files that are missing, and all at least so large'))
    .option('--name <text>', 'name of the array, as HOST:NAME (default: tidemark:0)', textOption('--name'))
    .option('--uuid <uuid>', 'uuid (default: a random one)', uuidOption('--uuid'))
    .option('--raid-disks <n>', 'slots: more devices are spares, fewer leave slots empty', countOption('--raid-disks', 16))
    .addOption(sizeOption('--chunk', 'bytes for one bit of the bitmap, a power of two (default: 64 MiB)'))
    .option('--daemon-seconds <n>', 'seconds between two clearings of bits (default: 5)', countOption('--daemon-seconds', 86_400))
    .option('--assume-clean', 'the devices hold the same: no resync')
    .option('--force', 'also of devices that somebody may want to keep')
    .action((devices: string[], words: CreateWords & Words) =>
      tellAndPrint(words, true, (telling) => create(devices, words, telling.tell)),
    );
  degraded(pass(verb('assemble', 'Start an array, bring it in order, and stop it', ASSEMBLE_EXAMPLES)))
    .argument('<device...>', 'its members, or md:DEVICE,DEVICE…')
    .action((devices: string[], words: Words) => onStopped(request('status', null, [], words), devicesOf(devices), words));
  control(verb('status', 'Show an array', STATUS_EXAMPLES))
    .argument('[device...]', 'its members, or md:DEVICE,DEVICE…')
    .action((devices: string[], words: Words) => whole('status', devices, { ...words, wait: false, degraded: true }));
  control(degraded(pass(verb('check', 'Compare the members', CHECK_EXAMPLES))))
    .argument('[device...]', 'its members, or md:DEVICE,DEVICE…')
    .option('--repair', 'make them equal where they differ')
    .action((devices: string[], words: Words) => whole(words.repair ? 'repair' : 'check', devices, words));

  const member = (name: 'fail' | 'remove' | 'add', description: string, more: string): Command =>
    control(degraded(pass(verb(name, description, memberExamples(name, more)))))
      .argument('<device...>', 'md:DEVICE,DEVICE… (with --control only if there are several), and members of it')
      .action((devices: string[], words: Words) => onMembers(name, devices, words));
  member('fail', 'Declare members faulty', 'A spare takes the place of one that fails, if there is one.');
  member(
    'remove',
    'Let go of members',
    'They are to be faulty or spare. One that failed is no part of an array any more once that was stopped.',
  );
  member(
    'add',
    'Add members',
    'One that was a member comes back by the bitmap if it can; any other is copied as a whole, or is a spare.',
  ).option('--force', 'also a member of another array');
}

function bitmapWord(word: string): BitmapWord {
  if (word === '') throw new UsageError('--bitmap is empty; want internal, none or a FILE');
  if (word.includes('::/')) throw new UsageError(`--bitmap ${word}: a file in a tree is not taken yet; want a DEVICE`);
  return word === 'internal' || word === 'none' ? word : { file: word };
}

const request = (verb: RequestVerb, array: string | null, devices: readonly string[], words: Words): MdRequest => ({
  verb,
  array,
  devices,
  force: words.force ?? false,
  wait: words.wait,
});

/** A verb that is about a whole array. */
function whole(verb: 'status' | 'check' | 'repair', devices: string[], words: Words): Promise<void> {
  const { control } = words;
  if (control === undefined) {
    if (devices.length === 0) throw new UsageError(`md ${verb}: which array? want its devices, or --control unix:PATH`);
    return onStopped(request(verb, null, [], words), devicesOf(devices), { ...words, readOnly: verb === 'status' });
  }
  if (devices.length > 1) throw new UsageError(`md ${verb} --control: one array at a time, by its word: md:DEVICE,DEVICE…`);
  return tellAndPrint(words, verb === 'status', (telling) => ask(control, request(verb, devices[0] ?? null, [], words), telling.tell));
}

function onMembers(verb: 'fail' | 'remove' | 'add', given: string[], words: Words): Promise<void> {
  const { array, members } = arrayAndMembers(verb, given);
  const { control } = words;
  const asked = request(verb, array, members, words);
  if (control !== undefined) return tellAndPrint(words, false, (telling) => ask(control, asked, telling.tell));
  if (array === null) throw new UsageError(`md ${verb}: of which array? want md:DEVICE,DEVICE… first, or --control unix:PATH`);
  return onStopped(asked, devicesOf([array]), words);
}

function onStopped(asked: MdRequest, devices: readonly string[], words: Words & StartWords): Promise<void> {
  return tellAndPrint(words, asked.verb === 'status', (telling) =>
    withStoppedArray(devices, words, (running) => perform(running, asked, telling.tell)),
  );
}

async function tellAndPrint(words: Words, withArrays: boolean, work: (telling: SyncTelling) => Promise<MdAnswer>): Promise<void> {
  const telling = new SyncTelling(words.json === true);
  let answer: MdAnswer;
  try {
    answer = await work(telling);
  } finally {
    telling.stop();
  }
  if (words.json) printJson(answer);
  else printLine(describeAnswer(answer, withArrays));
  const { sync } = answer;
  if (sync?.action === 'check' && sync.nrMismatchSectors > 0)
    throw new JobFailed(`the members differ in ${sync.nrMismatchSectors} sectors`);
}
