/** The rules of a filesystem, checked. Claim more in `supports` as you build more. */
import { describe, it } from 'node:test';
import { describeFileSystem } from '@tidemark/testkit/conformance';
import { templateFs } from '../dist/index.js';

describeFileSystem(
  {
    name: 'template-fs',
    plugins: [templateFs],
    create: async ({ kernel }) => {
      await kernel.mount('template:', '/');
    },
    supports: { handles: true },
  },
  { describe, it },
);
