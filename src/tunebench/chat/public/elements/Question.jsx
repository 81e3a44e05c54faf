import { useState } from 'react';
import { Button } from '@/components/ui/button';
import { Input } from '@/components/ui/input';
import { Label } from '@/components/ui/label';
import { Textarea } from '@/components/ui/textarea';

export default function Question() {
  const { run, words, options } = props;
  const [passage, setPassage] = useState(props.passage || '');
  const [question, setQuestion] = useState('');
  const [choices, setChoices] = useState(Array(options).fill(''));
  const [busy, setBusy] = useState(false);
  const name = (part) => `question-${props.id}-${part}`;

  const ask = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await callAction({ name: 'ask', payload: { run, passage, question, choices } });
    } finally {
      setBusy(false);
    }
  };

  return (
    <form onSubmit={ask} style={{ display: 'flex', flexDirection: 'column', gap: '0.75rem', maxWidth: '36rem' }}>
      <div>
        <Label htmlFor={name('passage')}>{words.passage}</Label>
        <Textarea id={name('passage')} rows={5} value={passage} onChange={(event) => setPassage(event.target.value)} />
      </div>
      <div>
        <Label htmlFor={name('question')}>{words.question}</Label>
        <Input id={name('question')} value={question} onChange={(event) => setQuestion(event.target.value)} />
      </div>
      {choices.map((choice, number) => (
        <div key={number}>
          <Label htmlFor={name(number)}>{words.options[number]}</Label>
          <Input
            id={name(number)}
            value={choice}
            onChange={(event) => setChoices(choices.map((old, place) => (place === number ? event.target.value : old)))}
          />
        </div>
      ))}
      <div>
        <Button type="submit" disabled={busy}>
          {words.ask}
        </Button>
      </div>
    </form>
  );
}
