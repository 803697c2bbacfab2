/** The conformance suites, host-free: `@tidemark/testkit/conformance` binds them to Node. */
export { type ConformanceCase, failuresOf, register, type TestRunner } from './case.js';
export { describeFileSystem, fileSystemCases, type HostedSuiteOptions } from './describe-file-system.js';
export { type DetectedSupport, detectSupport } from './detect.js';
export { type FileFacts, Files, type TreeListing } from './files.js';
export {
  BLOCK_DEVICE_RULES,
  type BlockDeviceRule,
  ConformanceFailure,
  FILE_SYSTEM_RULES,
  type FileSystemRule,
  type Rule,
} from './rules.js';
export type { FileSystemSubject, FileSystemSupports, Ground, SuiteOptions } from './subject.js';
export { breakFileSystem, type FileSystemDefect } from './break-file-system.js';
export { defectsFor, FILE_SYSTEM_DEFECTS } from './file-system-defects.js';
export { BLOCK_DEVICE_DEFECTS, type BlockDeviceDefect, breakBlockDevice } from './block-device-defects.js';
export type { BlockDeviceSubject, BlockGround } from './block-stage.js';
export { blockDeviceCases, describeBlockDevice } from './describe-block-device.js';
