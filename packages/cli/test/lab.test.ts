/** `tidemark lab` as a process: the matrix, single runs, and words that nobody understands. */
import { describe, expect, it } from 'vitest';
import { start } from './command.js';

const lab = (...words: string[]) => start(['lab', ...words]).ended;

describe('tidemark lab', () => {
  it('--matrix exits 0, and its JSON has every cell', { timeout: 300_000 }, async () => {
    const { code, stdout } = await lab('--matrix', '--seeds', '1', '--json');
    expect(code).toBe(0);
    const { cells, scopes, spaces } = JSON.parse(stdout);
    expect(cells.length % 5).toBe(0);
    const cell = cells.find(({ topology, policy }: Record<string, string>) => topology === 'T6' && policy === 'memalloc');
    expect(cell).toMatchObject({ verdict: 'hangs', predicted: 'H', isAsDesigned: true, seeds: 1, seed: 1, counts: { hangs: 1 } });
    expect(cell.cycle.nodes).toContain('server: nfs-server');
    expect(cell.nodes).toContainEqual({ name: 'nfs-server', kind: 'model' });
    expect(scopes).toContainEqual({ case: 'c', rule: 'depth', verdict: 'hangs', predicted: 'hangs' });
    expect(new Set(spaces.map(({ space }: Record<string, string>) => space)).size).toBe(3);
  });

  it('a run that hangs has a timeline on stdout and its report on stderr, and exits 3, twice the same', async () => {
    const words = ['--topology', 'T8', '--policy', 'memalloc', '--seed', '1'];
    const { code, stdout, stderr } = await lab(...words);
    expect(code).toBe(3);
    expect(stdout).toMatch(/nbd-server has dirtied page/);
    expect(stdout).toMatch(/T8 under memalloc, seed 1: hangs after \d+ events/);
    expect(stderr).toMatch(/stalled at/);
    expect(stderr).toMatch(/cycle: filesystem: ext3:vda data → task: ext3:vda data → frames: any free frame/);
    expect(await lab(...words)).toEqual({ code, stdout, stderr, signal: null });
  });

  it('a run that completes or is refused exits 0', async () => {
    const { code, stdout } = await lab('--topology', 'T6', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ topology: 'T6', policy: 'composed', seed: 1, verdict: 'completes', error: null, stall: [] });
    const refused = await lab('--topology', 'T11c');
    expect(refused.code).toBe(0);
    expect(refused.stdout).toMatch(/is refused .*\n +EDEADLK: .*bitmap of md:0 → ext3:md:0 data → md:0 → bitmap of md:0/);
  });

  it('--dot prints the wait-for graph with its cycles red', async () => {
    const { code, stdout } = await lab('--topology', 'T10', '--policy', 'none', '--dot');
    expect(code).toBe(3);
    expect(stdout).toMatch(/^digraph stall \{/);
    expect(stdout).toMatch(/color=red/);
  });

  it.each([
    [['--topology', 'T99'], /there is no topology "T99"; there are T1, T2/],
    [['--topology', 'T6', '--policy', 'hope'], /there is no policy "hope"; there are none, memalloc, limits, vmio, composed/],
    [[], /lab wants --matrix, or --topology NAME/],
    [['--matrix', '--topology', 'T6'], /lab wants --matrix, or --topology NAME/],
    [['--matrix', '--seeds', '0'], /--seeds 0 runs nothing/],
    [['--matrix', '--policy', 'none'], /--policy and --dot are for a single run/],
  ])('%j is bad usage', async (words, message) => {
    const { code, stderr, stdout } = await lab(...words);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });
});
