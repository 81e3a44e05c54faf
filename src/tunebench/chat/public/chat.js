// Buttons that bear only a picture get a name for those who do not see it, in the language of the page.
const NAMES = {
  '#new-chat-button': 'navigation.newChat.button',
  '#upload-button': 'chat.input.actions.attachFiles',
  '#chat-submit': 'chat.input.actions.send',
  '#stop-button': 'chat.input.actions.stop',
  '#chat-input': 'chat.input.placeholder',
  '.absolute.bottom-4 > button': 'chat.toEnd'
};
const language = navigator.language || 'en-US';
document.documentElement.lang = language;
fetch(`/project/translations?language=${encodeURIComponent(language)}`)
  .then((answer) => answer.json())
  .then(({ translation }) => {
    const name = () => {
      for (const [button, place] of Object.entries(NAMES)) {
        const found = document.querySelector(button);
        const words = place.split('.').reduce((texts, step) => texts?.[step], translation);
        if (found && words && !found.hasAttribute('aria-label')) found.setAttribute('aria-label', words);
      }
    };
    name();
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });
