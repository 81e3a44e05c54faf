export default function Said() {
  const { title, text, bars = [], notes = [], code } = props;
  const quiet = { color: 'hsl(var(--muted-foreground))', fontSize: '0.875rem', margin: 0, overflowWrap: 'anywhere' };
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: '0.6rem', maxWidth: '36rem' }}>
      {title ? (
        <p style={{ margin: 0, fontSize: '1.125rem', fontWeight: 600, overflowWrap: 'anywhere' }}>{title}</p>
      ) : null}
      {text ? <p style={{ margin: 0, overflowWrap: 'anywhere' }}>{text}</p> : null}
      {bars.length ? (
        <ul style={{ listStyle: 'none', margin: 0, padding: 0, display: 'flex', flexDirection: 'column', gap: '0.5rem' }}>
          {bars.map((bar, number) => (
            <li key={number}>
              <div style={{ display: 'flex', justifyContent: 'space-between', gap: '1rem', fontSize: '0.875rem' }}>
                <span style={{ overflowWrap: 'anywhere' }}>{bar.name}</span>
                <span style={{ fontVariantNumeric: 'tabular-nums', whiteSpace: 'nowrap' }}>{bar.shown}</span>
              </div>
              <div
                aria-hidden="true"
                style={{ height: '0.5rem', borderRadius: '0.25rem', background: 'hsl(var(--muted))', overflow: 'hidden' }}
              >
                <div style={{ height: '100%', width: `${100 * bar.share}%`, background: 'hsl(var(--primary))' }} />
              </div>
            </li>
          ))}
        </ul>
      ) : null}
      {notes.map((note, number) => (
        <p key={number} style={quiet}>
          {note}
        </p>
      ))}
      {code ? (
        <code
          style={{ padding: '0.5rem 0.75rem', borderRadius: '0.375rem', background: 'hsl(var(--muted))', overflowWrap: 'anywhere' }}
        >
          {code}
        </code>
      ) : null}
    </div>
  );
}
