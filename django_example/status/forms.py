"""What a visitor may enter: an address. The rules for it are the model's, in the admin too."""

from django import forms

from status.models import Address

_INPUT = {
    "inputmode": "url",
    "autocomplete": "off",
    "autocapitalize": "off",
    "spellcheck": "false",
    "placeholder": "https://example.org/",
}


class AddressForm(forms.ModelForm):
    """Puts an address on the board. To validate it takes queries, so not in async code as it is."""

    class Meta:
        model = Address
        fields = ["url"]
        labels = {"url": "Watch another address"}
        widgets = {"url": forms.URLInput(attrs=_INPUT)}
        error_messages = {"url": {"required": "Enter an address, such as https://example.org/."}}
