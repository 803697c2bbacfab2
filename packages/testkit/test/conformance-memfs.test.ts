/** The conformance suite on memfs, the reference. */
import { memfs } from '@tidemark/testkit';
import { describeFileSystem } from '@tidemark/testkit/conformance';
import { describe, it } from 'vitest';
import { memfsSubject } from './support/subjects.js';

describeFileSystem(memfsSubject(memfs), { describe, it });
