import { INPUT } from '../arcp/wire';
import { ask, questionsChanged, runtime } from '../app/link';
import { Empty, useAsked } from './bits';
import { QuestionCard } from './question';

/** All open questions, the longest waiting first. */
export function Inbox() {
  const questions = useAsked(() => ask('questions', {}), [questionsChanged.value]);
  if (runtime.value && !runtime.value.features.includes(INPUT))
    return (
      <>
        <h1>Inbox</h1>
        <Empty title="Nobody asks here">This runtime does not let agents put questions to people.</Empty>
      </>
    );
  return (
    <>
      <h1>Inbox</h1>
      {questions?.length === 0 && (
        <Empty title="Nothing waits for you">Questions of running jobs show up here as they are asked.</Empty>
      )}
      {questions?.map((question) => <QuestionCard key={`${question.jobId} ${question.id}`} question={question} withJob />)}
    </>
  );
}
