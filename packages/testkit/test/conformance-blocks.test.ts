/** The conformance suite for block devices: RAM disk, simulated disk, core's filters, NBD over links; and devices broken on purpose. */
import { copyOnWrite, delay, errors, openFilter, PAGE_SIZE, stats } from '@tidemark/core';
import { NbdServer, nbd } from '@tidemark/nbd';
import { SimulatedDisk, SimulatedNetwork } from '@tidemark/testkit';
import {
  BLOCK_DEVICE_DEFECTS,
  type BlockDeviceSubject,
  blockDeviceCases,
  breakBlockDevice,
  describeBlockDevice,
  failuresOf,
} from '@tidemark/testkit/conformance';
import { describe, expect, it } from 'vitest';

const disk: BlockDeviceSubject = {
  name: 'a simulated disk',
  create: async ({ disk }) => disk('disk', { blockSizeBytes: 512 }),
  supports: { crash: true, late: true },
};

const subjects: readonly BlockDeviceSubject[] = [
  disk,
  { name: 'a RAM disk', create: ({ kernel }) => kernel.openBlockDevice('mem:512KiB'), supports: {} },
  {
    name: 'delay over a disk',
    create: ({ kernel, disk }) => openFilter(kernel, disk('disk'), delay, { latencyMs: 2 }),
    supports: { crash: true, late: true },
  },
  {
    name: 'stats over a disk',
    create: ({ kernel, disk }) => openFilter(kernel, disk('disk'), stats, {}),
    supports: { crash: true, late: true },
  },
  {
    name: 'errors, none of them, over a disk',
    create: ({ kernel, disk }) => openFilter(kernel, disk('disk'), errors, {}),
    supports: { crash: true, late: true },
  },
  {
    name: 'an overlay',
    create: async ({ kernel, disk }) => openFilter(kernel, disk('base'), copyOnWrite, { upper: disk('overlay') }),
    supports: { late: true },
  },
  {
    name: 'nbd over a link',
    plugins: [nbd],
    async create({ world, machine, kernel }) {
      const network = new SimulatedNetwork(world);
      const server = world.machine('server');
      const remote = await world.boot(server, { memory: 256 * PAGE_SIZE, plugins: [nbd, network.transportOf(server)] });
      const served = new SimulatedDisk(world, server, remote.memory.arena, { sizeBytes: 2 ** 19 });
      await NbdServer.listen(remote, { address: 'server:10809', exports: { disk: remote.attach(served) } });
      network.transportOf(machine).register(kernel.container);
      return kernel.openBlockDevice('nbd://server:10809/disk');
    },
    supports: { late: true },
  },
];

for (const subject of subjects) describeBlockDevice(subject, { describe, it });

describe('a disk, broken', () => {
  it.each(BLOCK_DEVICE_DEFECTS)('$rule: $what', async (defect) => {
    const subject: BlockDeviceSubject = {
      ...disk,
      name: 'a broken disk',
      create: async (ground) => breakBlockDevice(ground.kernel, await disk.create(ground), defect),
    };
    const cases = blockDeviceCases(subject).filter(({ rule }) => rule === defect.rule);
    const failures = await failuresOf(cases);
    expect(failures.map(({ rule }) => rule)).toContain(defect.rule);
  });
});
