/**
 * The `tidemark` command. `main` runs one command line and returns its exit code; `bin/tidemark.js` hands it the process's own.
 *
 *     0        done
 *     1        the job failed: bytes that do not verify, a stdout that cannot be written, or a bug
 *     2        bad usage or bad input, from a mistyped option to a server that does not answer: one line on stderr
 *     3        stalled: the report says who waits for what
 *     128 + n  ended by signal n; 141 (SIGPIPE) also if the reader of stdout or stderr went away
 *
 * @packageDocumentation
 */
import fs from 'node:fs';
import { isKernelError } from '@tidemark/core';
import { Command, CommanderError } from 'commander';
import { demoCommand } from './demo-command.js';
import { FILE_VERBS, type FileVerb } from './files/names.js';
import { ExitCode, Interrupted, JobFailed, Stalled, UsageError } from './outcome.js';
import { reservesCommand } from './reserves-command.js';
import { serveCommand } from './serve-command.js';
import { swapCommand } from './swap-command.js';

const EXAMPLES = `
Examples:
  tidemark demo --memory 8MiB --working-set 128MiB
  tidemark serve nbd disk.img --listen 127.0.0.1:10809
  tidemark swap info nbd://127.0.0.1:10809/
  tidemark reserves nbd --memory 8MiB
  tidemark mkfs ext3 disk.img --size 64MiB
  tidemark cp -r ./notes ext3:disk.img::/notes
  tidemark md create a.img b.img --size 64MiB --bitmap internal
  tidemark mount ext3:disk.img /mnt

Devices: mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, md:DEVICE,DEVICE….
Trees: ext3:DEVICE, memfs:SIZE, nfs://HOST/EXPORT[?nfsport=N&mountport=M]. Files: TREE::/path; for cp also paths of the host.
Sizes: bytes, or a whole number with KiB, MiB, GiB, TiB (K, M, G, T mean the same).`;

export { endOnStreamFailure } from './outcome.js';

/** Runs one command line, without `node` and script name. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = await createProgram(argv[0] === 'help' ? argv[1] : argv[0]);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return ExitCode.DONE;
  } catch (error) {
    if (error instanceof CommanderError && error.code === 'commander.help' && error.exitCode !== 0) {
      const group = program.commands.find((command) => command.name() === argv[0]);
      return complain(`no verb; see tidemark ${group === undefined ? '' : `${group.name()} `}--help`, ExitCode.BAD_INPUT);
    }
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.DONE : ExitCode.BAD_INPUT; // it has printed its line
    if (error instanceof UsageError || isKernelError(error)) return complain(error.message, ExitCode.BAD_INPUT);
    if (error instanceof Stalled) return complain(error.message, ExitCode.STALLED);
    if (error instanceof Interrupted) return error.exitCode;
    if (error instanceof JobFailed) return complain(error.message, ExitCode.FAILED);
    return complain(`this is a bug: ${error instanceof Error ? error.stack : String(error)}`, ExitCode.FAILED);
  }
}

const MD = 'Make and look after RAID1 arrays';
const LAB = 'Run the topologies in which writeout deadlocks under every reserve policy, in virtual time';

/** @param verb the lab, md and the filesystems are loaded for their own verbs only: nobody else should hold them in memory. */
async function createProgram(verb: string | undefined): Promise<Command> {
  const program = new Command('tidemark')
    .description('The memory-reclaim and storage half of a kernel: its demo, its servers, its tools')
    .version(version(), '--version', 'print the version')
    .exitOverride()
    .configureOutput({
      writeErr: () => {}, // the help that commander shows for a missing verb; main has a line for it
      outputError: (text) => complain(text.replace(/^error: /, ''), ExitCode.BAD_INPUT),
    })
    .addHelpText('after', EXAMPLES);
  demoCommand(program);
  serveCommand(program);
  swapCommand(program);
  reservesCommand(program);
  for (const [name, description] of Object.entries(FILE_VERBS)) {
    const command = program.command(name).description(description);
    if (verb === name) (await import('./files/verbs.js')).MAKERS[name as FileVerb](command);
  }
  const arrays = program.command('md').description(MD);
  if (verb === 'md') (await import('./md/md-command.js')).mdCommand(arrays);
  const mount = program.command('mount').description('Mount a tree on a directory of Linux, through /dev/fuse');
  if (verb === 'mount') (await import('./mount-command.js')).mountCommand(mount);
  const lab = program.command('lab').description(LAB);
  if (verb === 'lab') (await import('./lab-command.js')).labCommand(lab);
  return program;
}

function version(): string {
  return JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}

/** One line on stderr (a bug has its stack, a stall its report, too). */
function complain(text: string, code: ExitCode): ExitCode {
  process.stderr.write(`tidemark: ${code === ExitCode.BAD_INPUT ? text.trim().replace(/\s*\n\s*/g, ' ') : text}\n`);
  return code;
}
