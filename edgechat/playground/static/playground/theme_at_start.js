// A classic script in the head: it runs before the first paint, so a chosen theme does not flash.
{
  const theme = localStorage.getItem("edgechat.theme");
  if (theme) document.documentElement.dataset.theme = theme;
}
