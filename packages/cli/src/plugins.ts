/** Plugins of a kernel that reads and writes files: every filesystem, and every device that one can be on. */
import type { Plugin } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { nfs } from '@tidemark/fs-nfs';
import { md } from '@tidemark/md';
import { nbd } from '@tidemark/nbd/host';
import { memfs } from '@tidemark/testkit';

export const PLUGINS: readonly Plugin[] = [host, nbd, md, ext3, nfs, memfs];
