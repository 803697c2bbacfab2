/** The conformance suite on fs-log; the power fails after each write and flush of a run. */
import { describeFileSystem } from '@tidemark/testkit/conformance';
import { describe, it } from 'vitest';
import { fsLog } from '../src/index.js';
import { logSubject } from './subject.js';

describeFileSystem(logSubject(fsLog), { describe, it }, { crashPointsMax: Number.POSITIVE_INFINITY });
