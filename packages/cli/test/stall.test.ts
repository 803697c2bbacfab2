/**
 * The demo when its store falls silent: no byte is lost by being waited for for ever; exit code 3, and a report that leads to the file.
 */
import { Kernel } from '@tidemark/core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { main } from '../src/main.js';

const boot = Kernel.boot.bind(Kernel);
let stdout = '';
let stderr = '';

/** Has every file device stop answering after its first `nrRequests`, and the watchdog be impatient. */
function fallSilentAfter(nrRequests: number): void {
  vi.spyOn(Kernel, 'boot').mockImplementation(async (options) => {
    const kernel = await boot({ ...options, watchdog: { quietMs: 300 } });
    const open = kernel.openBlockDevice.bind(kernel);
    vi.spyOn(kernel, 'openBlockDevice').mockImplementation(async (url, how) => {
      const device = await open(url, how);
      if (device.viaSocket) return device;
      const submit = device.ops.submit.bind(device.ops);
      let left = nrRequests;
      vi.spyOn(device.ops, 'submit').mockImplementation((bio) => {
        if (left-- > 0) submit(bio);
      });
      return device;
    });
    return kernel;
  });
  const into = (add: (text: string) => void) => (text: string | Uint8Array) => {
    add(String(text));
    return true;
  };
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation(into((text) => (stdout += text)));
  vi.spyOn(process.stderr, 'write').mockImplementation(into((text) => (stderr += text)));
}

afterEach(() => vi.restoreAllMocks());

describe('a stalled demo', () => {
  const words = ['demo', '--memory', '1MiB', '--working-set', '8MiB'];

  it('ends with 3 and says who waits for what, down to the file', async () => {
    fallSilentAfter(20);
    expect(await main(words)).toBe(3);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^tidemark: stalled at \d+ ms: [1-9]\d* waiting, \d+ frames free$/m);
    expect(stderr).toMatch(/^ {2}demo waits for (?:frames|bio): /m);
    expect(stderr).toMatch(/^ {2}nobody works on: block-device: file:.*\/swap$/m);
    expect(stderr).not.toContain('every byte came back');
  });

  it('prints the report as an object, too', async () => {
    fallSilentAfter(20);
    expect(await main([...words, '--json', '--policy', 'memalloc'])).toBe(3);
    const { stack, policy, stall } = JSON.parse(stdout);
    expect({ stack, policy }).toEqual({ stack: 'nbd', policy: 'memalloc' });
    expect(stall.ends).toEqual([expect.stringMatching(/^block-device: file:.*\/swap$/)]);
    const server = stall.edges.find(([, to]: [string, string]) => to === stall.ends[0])[0];
    expect(server).toMatch(/^server: nbd-server:127\.0\.0\.1:/);
  });
});
