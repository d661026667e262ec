export { SinkRecorder as Recorder } from '../../../src/testing/sink-recorder.ts';
